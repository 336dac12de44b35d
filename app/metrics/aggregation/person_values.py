"""Values of exposed persons over time, and their sums by variant.

A person's value is what an aggregation makes of their events from the exposure on, inside the conversion window. It
changes at events only, so that it is kept as its changes: the value from a bucket of time on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.samples import SampleCounts
from app.metrics.facts.columns import NO_ACTOR, FactColumns

ValueMath: TypeAlias = Literal["total", "sum", "avg", "min", "max", "dau", "unique_session", "unique_group"]

VALUE_MATHS: tuple[ValueMath, ...] = get_args(ValueMath)
NUMERIC: frozenset[ValueMath] = frozenset({"sum", "avg", "min", "max"})  # of a numeric property
DISTINCT: frozenset[ValueMath] = frozenset({"unique_session", "unique_group"})  # of what else the events belong to

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Outliers:
    """Which values are moved to a cap (winsorizing): those beyond a quantile of all persons' values, in 0 to 1.

    ``ignores_zeros``: the upper quantile is that of the values other than 0.
    """

    lower: float | None = None
    upper: float | None = None
    ignores_zeros: bool = False

    def caps(self, values: Floats) -> tuple[float, float]:
        """Return the lower and the upper cap; infinite where there is none."""
        ordered = np.sort(values)
        lower = -np.inf if self.lower is None else _quantile(ordered, self.lower, -np.inf)
        if self.upper is None:
            return lower, np.inf
        return lower, _quantile(ordered[ordered != 0] if self.ignores_zeros else ordered, self.upper, np.inf)


def _quantile(ordered: Floats, level: float, default: float) -> float:
    """Return the value at the position ``floor(level * n)`` from 0, the last one at level 1."""
    if not len(ordered):
        return default
    return float(ordered[min(int(level * len(ordered)), len(ordered) - 1)])


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
    """

    row: Rows
    bucket: NDArray[np.intp]
    value: Floats

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
        order = np.lexsort((bucket, row))
        row, bucket = row[order], bucket[order]
        starts = _starts(row, bucket)
        if not len(starts):
            return cls(np.empty(0, np.int64), np.empty(0, np.intp), np.empty(0))
        value = _running(math, row, events.value[order], starts)
        by_time = np.argsort(bucket[starts], kind="stable")
        return cls(row[starts][by_time], bucket[starts][by_time], value[by_time])


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
    sums = _accumulated(np.add, person, np.add.reduceat(numbers, starts))
    return sums if math == "sum" else sums / counts


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


@dataclass(frozen=True)
class ValueCounts(SampleCounts):
    """Sums over exposed persons, all of whom are holders of a value; a second one is a denominator or a covariate.

    Attributes
    ----------
    capped : float64[values, 4]
        Of each value that has outliers, at the end: the lower and the upper cap, and the persons below and above.
    """

    capped: Floats

    def _combined(self, other: Self, combine: Callable[[Any, Any], Any]) -> Self:
        """Return the combination of counts without outliers, which have no caps."""
        sums = SampleCounts(self.cumulative)._combined(SampleCounts(other.cumulative), combine)  # its base
        return replace(self, cumulative=sums.cumulative)


@dataclass(frozen=True)
class SummedValue:
    """A value of persons, and what is done to it before it is summed up.

    ``threshold``: the value is 1 where it is at least that, else 0. Values that are whole numbers have the pivot 0.
    """

    values: PersonValues
    is_whole: bool
    outliers: Outliers | None = None
    threshold: float | None = None


@np.errstate(over="ignore", invalid="ignore")
def sum_values(
    ledger: Ledger, entry: NDArray[np.int64], values: Sequence[SummedValue], ticks: Ticks, variant_count: int
) -> ValueCounts:
    """Sum up one or two values of each person by variant; sums that overflow are infinite or nan.

    Parameters
    ----------
    ledger
        Persons of one variant each.
    entry : int64[n]
        From when on each of them is counted.
    """
    entered = ticks.bucket(entry)
    order = np.argsort(entered, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    slot, present = ledger.slot[order], np.searchsorted(entered[order], np.arange(len(ticks)), side="right").tolist()
    running = [_Replay(one, place) for one in values]
    cumulative = np.zeros((5 if len(values) == 1 else 9, variant_count, len(ticks)))
    for bucket, count in enumerate(present):
        changed = [one.advance(bucket) for one in running]
        if bucket and not any(changed) and count == present[bucket - 1]:
            cumulative[:, :, bucket] = cumulative[:, :, bucket - 1]
            continue
        cumulative[:, :, bucket] = _sums(running, slot[:count], variant_count)
    return ValueCounts(cumulative, np.array([one.capped for one in running]))


def _sums(running: Sequence["_Replay"], slot: Rows, variant_count: int) -> Floats:
    """Return the rows of ``SampleCounts`` for the persons who have entered, about the mean of each variant."""
    persons = np.bincount(slot, minlength=variant_count).astype(np.float64)
    rows: list[Floats] = [persons, persons]
    excesses: list[Floats] = []
    for one in running:
        values = one.read(len(slot))
        pivot = np.zeros(variant_count)
        if not one.is_whole:
            total = _summed(slot, values, variant_count)
            pivot = np.divide(total, persons, out=pivot, where=persons > 0)
        excess = values - pivot[slot]
        rows.append(pivot)
        rows += [_summed_finely(slot, excess, variant_count), _summed(slot, excess**2, variant_count)]
        excesses.append(excess)
    if len(excesses) > 1:
        rows.append(_summed(slot, excesses[0] * excesses[1], variant_count))
    return np.stack(rows)


def _summed(slot: Rows, values: Floats, variant_count: int) -> Floats:
    return np.bincount(slot, weights=values, minlength=variant_count).astype(np.float64)


def _summed_finely(slot: Rows, values: Floats, variant_count: int) -> Floats:
    """Return sums to within a few roundings: those of equal values would otherwise drift with their number.

    The high parts of the values are multiples of one power of two, of at most 27 bits: sums of 2 ** 26 are exact.
    """
    largest = np.max(np.abs(values), initial=0.0)
    if not 1e-250 < largest < 1e250:  # 0, not finite, or close to what floats can hold
        return _summed(slot, values, variant_count)
    unit = np.ldexp(1.0, int(np.frexp(largest)[1]) - _HIGH_BITS)
    high = np.rint(values / unit) * unit
    return _summed(slot, high, variant_count) + _summed(slot, values - high, variant_count)


_HIGH_BITS = 26


class _Replay:
    """One value of all persons at the end of one bucket after the other, by the order of their entry."""

    def __init__(self, summed: SummedValue, place: NDArray[np.int64]) -> None:
        values = summed.values
        self._summed = summed
        self.is_whole = summed.is_whole or summed.threshold is not None
        self._position, self._bucket, self._value = place[values.row], values.bucket, values.value
        self._now = np.zeros(len(place))
        self._applied = 0
        self.capped = (np.nan, np.nan, 0.0, 0.0)

    def advance(self, bucket: int) -> bool:
        """Apply the changes up to the end of a bucket; return whether there were any."""
        end = int(np.searchsorted(self._bucket, bucket, side="right"))
        changes = slice(self._applied, end)
        self._now[self._position[changes]] = self._value[changes]  # of several changes of a person, the last one
        self._applied, had = end, self._applied
        return end > had

    def read(self, count: int) -> Floats:
        """Return the values of the first persons, capped, or as 0 and 1."""
        now, summed = self._now[:count], self._summed
        if summed.threshold is not None:
            return (now >= summed.threshold).astype(np.float64)
        if summed.outliers is None:
            return now
        lower, upper = summed.outliers.caps(now)
        self.capped = (lower, upper, float((now < lower).sum()), float((now > upper).sum()))
        return np.minimum(np.maximum(now, lower), upper)
