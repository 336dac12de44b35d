"""Values of exposed persons over time.

A person's value is what an aggregation makes of their events from the exposure on, inside the conversion window. It
changes at events only, so that it is kept as its changes: the value from a bucket of time on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.facts.columns import NO_ACTOR, FactColumns

ValueMath: TypeAlias = Literal["total", "sum", "avg", "min", "max", "dau", "unique_session", "unique_group"]

VALUE_MATHS: tuple[ValueMath, ...] = get_args(ValueMath)
NUMERIC: frozenset[ValueMath] = frozenset({"sum", "avg", "min", "max"})  # of a numeric property
DISTINCT: frozenset[ValueMath] = frozenset({"unique_session", "unique_group"})  # of what else the events belong to

_BITS: Final = 26
_SMALLEST_EXPONENT: Final = -900  # smaller numbers are all low part

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class PersonValues:
    """The values of the persons of a ledger over time; 0 until the first change.

    Attributes
    ----------
    row : int64[c]
        Whose value changes: rows of the ledger.
    bucket : intp[c]
        In which bucket of time it changes, ascending.
    value : float64[c]
        What it is from then on.
    rest : float64[c] or None
        What a sum exceeds ``value`` by: the variance of values that are large beside their spread needs it.
    """

    row: Rows
    bucket: NDArray[np.intp]
    value: Floats
    rest: Floats | None = None

    @classmethod
    def of(
        cls, row: Rows, events: FactColumns, ticks: Ticks, math: ValueMath, keys: FactColumns | None = None
    ) -> "PersonValues":
        """Aggregate the events of persons.

        Parameters
        ----------
        row
            The row of each event's person.
        math : {"total", "sum", "avg", "min", "max", "dau", "unique_session", "unique_group"}
            The number of events; of their numbers the sum, mean, smallest or largest; 1 if there is any event; the
            number of different sessions or groups that they belong to.
        keys
            The same events, among others, with their session or group as the actor; for ``DISTINCT`` only.
        """
        if math in NUMERIC:
            has_number = ~np.isnan(events.value)
            row, events = row[has_number], events.select(has_number)
        if math in DISTINCT and keys is not None:
            first = _first_of_each(row, events, keys)
            row, events = row[first], events.select(first)
        bucket = ticks.bucket(events.time)
        # By arrival within a bucket: which other persons are counted does not change the last digit of a sum.
        order = np.lexsort((events.sequence, bucket, row) if math in NUMERIC else (bucket, row))
        row, bucket = row[order], bucket[order]
        starts = _starts(row, bucket)
        if not len(starts):
            return cls(np.empty(0, np.int64), np.empty(0, np.intp), np.empty(0))
        by_time = np.argsort(bucket[starts], kind="stable")
        at = starts[by_time]
        if math == "sum":
            value, rest = _summed(row, events.value[order], starts)
            return cls(row[at], bucket[at], value[by_time], rest[by_time])
        return cls(row[at], bucket[at], _running(math, row, events.value[order], starts)[by_time])


@dataclass(frozen=True)
class JointValues:
    """The values of persons over time, all that a person has at a time in one cell.

    Attributes
    ----------
    row : int64[c]
        The persons, ascending: a cell for each bucket in which any of their values changes.
    bucket : int64[c]
        Ascending within a person, and not before the person is counted.
    values, rests : float64[m, c]
        What each value is, and what it exceeds that float by.
    """

    row: Rows
    bucket: NDArray[np.int64]
    values: Floats
    rests: Floats

    @classmethod
    def of(cls, values: "Sequence[PersonValues]", entered: NDArray[np.int64], buckets: int) -> "JointValues":
        """Join values; ``entered`` are the buckets from which on each person is counted."""
        keys = [one.row * buckets + np.maximum(one.bucket, entered[one.row]) for one in values]
        cells = np.sort(np.concatenate(keys))  # np.unique takes ten times as long
        cells = cells[np.flatnonzero(np.diff(cells, prepend=-1))]
        row = cells // buckets
        filled = [_filled(one.value, key, cells, row) for one, key in zip(values, keys, strict=True)]
        rests = [
            np.zeros(len(cells)) if one.rest is None else _filled(one.rest, key, cells, row)
            for one, key in zip(values, keys, strict=True)
        ]
        return cls(row, cells % buckets, np.array(filled), np.array(rests))

    @property
    def is_first(self) -> NDArray[np.bool_]:
        """Whether a cell is the first one of its person."""
        found = np.ones(len(self.row), dtype=np.bool_)
        found[1:] = self.row[1:] != self.row[:-1]
        return found

    @property
    def is_followed(self) -> NDArray[np.bool_]:
        """Whether the next cell is one of the same person."""
        return np.append(~self.is_first[1:], np.zeros(min(len(self.row), 1), dtype=np.bool_))


def _filled(changes: Floats, keys: Rows, cells: Rows, row: Rows) -> Floats:
    """Return the value that holds in each cell: that of the last change of its person up to there, 0 before."""
    own = np.full(len(cells), np.nan)
    is_set = np.zeros(len(cells), dtype=np.bool_)
    at = np.searchsorted(cells, keys)
    own[at], is_set[at] = changes, True  # of several changes in one cell, the last one
    index = np.arange(len(cells))
    last = np.maximum.accumulate(np.where(is_set, index, -1)) if len(cells) else index
    holds = (last >= 0) & (row[last] == row)
    return np.where(holds, own[last], 0.0)


def _running(math: ValueMath, row: Rows, numbers: Floats, starts: NDArray[np.intp]) -> Floats:
    """Return the value of each person at the end of each of their buckets, from events in the order of both."""
    person = row[starts]
    if math in {"min", "max"}:
        combine = np.minimum if math == "min" else np.maximum
        return _accumulated(combine, person, combine.reduceat(numbers, starts))
    counts = _accumulated(np.add, person, np.add.reduceat(np.ones(len(row)), starts))
    if math == "dau":
        return np.minimum(counts, 1)
    if math not in NUMERIC:
        return counts
    return _summed(row, numbers, starts)[0] / counts


def _summed(row: Rows, numbers: Floats, starts: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return the sum of each person at the end of each of their buckets, and what it exceeds that float by.

    Numbers are split into high parts that add up exactly, because they are multiples of one power of two for each
    person, of at most 27 bits (the sum of 2 ** 26 of them has 53), and low parts.
    """
    first = np.flatnonzero(np.diff(row, prepend=row[0] - 1))
    exponent = np.frexp(np.maximum.reduceat(np.abs(numbers), first))[1]
    unit = np.ldexp(1.0, np.maximum(exponent, _SMALLEST_EXPONENT) - _BITS)
    units = np.repeat(unit, np.diff(np.append(first, len(row))))
    parts = np.rint(numbers / units) * units
    high, low = (_accumulated(np.add, row[starts], np.add.reduceat(part, starts)) for part in (parts, numbers - parts))
    total = high + low
    added = total - high
    return total, (high - (total - added)) + (low - added)


def _accumulated(combine: np.ufunc, person: Rows, values: Floats) -> Floats:
    """Combine the values of each person from the first on, one after the other.

    Not as differences of a sum over all persons: the large values of others would cost digits.
    """
    index = np.arange(len(person))
    first = np.ones(len(person), dtype=np.bool_)
    first[1:] = np.diff(person) != 0
    rank = index - np.maximum.accumulate(np.where(first, index, 0))
    values = values.copy()
    for place in range(1, int(rank.max()) + 1):
        now = np.flatnonzero(rank == place)
        values[now] = combine(values[now - 1], values[now])
    return values


def _starts(row: Rows, bucket: NDArray[np.intp]) -> NDArray[np.intp]:
    is_first = np.ones(len(row), dtype=np.bool_)
    is_first[1:] = (np.diff(row) != 0) | (np.diff(bucket) != 0)
    return np.flatnonzero(is_first)


def _first_of_each(row: Rows, events: FactColumns, keys: FactColumns) -> NDArray[np.intp]:
    """Return the first event of each person in each session or group; events without one are left out."""
    if not len(keys):
        return np.empty(0, np.intp)
    by_sequence = np.argsort(keys.sequence)
    position = np.minimum(np.searchsorted(keys.sequence, events.sequence, sorter=by_sequence), len(keys) - 1)
    place = by_sequence[position]
    key = np.where(keys.sequence[place] == events.sequence, keys.actor[place], NO_ACTOR)
    known = np.flatnonzero(key != NO_ACTOR)
    order = known[np.lexsort((events.time[known], key[known], row[known]))]
    if not len(order):
        return order
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (np.diff(row[order]) != 0) | (np.diff(key[order]) != 0)
    return order[is_first]
