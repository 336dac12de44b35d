"""Distributions: how many exposed persons have which values. Caps and quantiles are read off them.

Caps and quantiles are those of all persons, so that what is new cannot be added to them; to the number of persons who
have a value it can. A distribution holds the changes of these numbers: how many persons get values in a bucket of time,
less those who give them up. Persons with the same values share a row, so that it is small where values are few, and
never larger than the changes of all persons.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.counts import BucketedCounts
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.person_values import Floats, JointValues, PersonValues, Rows

_SLOTS = 10  # bits of the variant in ``place``
_SLOT = (1 << _SLOTS) - 1
_NO_OWNER = 0


@dataclass(frozen=True)
class Distribution(BucketedCounts):
    """Changes of the numbers of persons with some values, or of the numbers of their events.

    Attributes
    ----------
    entered : int64[2, k, b]
        Persons who are counted from each bucket on, and those of them whose first event is in it.
    place : int64[c]
        The bucket of a change and its variant, ascending.
    owner : int64[c]
        Whose events they are; 0 for persons, who need not be told apart.
    values : float64[m, c]
        What these persons have, or the number of these events.
    change : int64[c]
        How many more have it from the bucket on.
    """

    entered: NDArray[np.int64]
    place: Rows
    owner: Rows
    values: Floats
    change: Rows

    bucketed = ("entered",)

    @classmethod
    def of_persons(
        cls,
        ledger: Ledger,
        entry: NDArray[np.int64],
        values: Sequence[PersonValues],
        ticks: Ticks,
        variant_count: int,
    ) -> Self:
        """Distribute persons by their values, 0 until the first change; the first one tells who has any event.

        Parameters
        ----------
        ledger
            Persons of one variant each.
        entry : int64[n]
            From when on each of them is counted.
        """
        entered, buckets = ticks.bucket(entry).astype(np.int64), len(ticks)
        joint = JointValues.of(values, entered, buckets)
        slot, bucket, followed = ledger.slot[joint.row], joint.bucket, joint.is_followed
        persons = _entered(ledger.slot, entered, values[0].row, values[0].bucket, (variant_count, buckets))
        slots, since = np.nonzero(persons[0])
        nothing = np.zeros((len(values), 1))
        parts = [  # all persons enter with 0, and give it up with their first change
            (_places(since, slots), np.repeat(nothing, len(slots), axis=1), persons[0][slots, since]),
            (_places(bucket, slot), joint.values, np.ones(len(slot), np.int64)),
            (
                _places(bucket[joint.is_first], slot[joint.is_first]),
                np.repeat(nothing, int(joint.is_first.sum()), axis=1),
                np.full(int(joint.is_first.sum()), -1),
            ),
            (
                _places(bucket[1:][followed[:-1]], slot[followed]),
                joint.values[:, followed],
                np.full(int(followed.sum()), -1),
            ),
        ]
        place, change = (np.concatenate([part[index] for part in parts]) for index in (0, 2))
        together = np.concatenate([part[1] for part in parts], axis=1)
        return cls._of_rows(persons, place, np.full(len(place), _NO_OWNER), together, change)

    @classmethod
    def of_events(
        cls,
        ledger: Ledger,
        entry: NDArray[np.int64],
        events: tuple[Rows, NDArray[np.intp], Floats],
        ticks: Ticks,
        variant_count: int,
    ) -> Self:
        """Distribute the events of persons by their numbers; see ``of_persons``.

        Parameters
        ----------
        events
            The row of each event's person, its bucket and its number; nan does not count.
        """
        row, bucket, number = events
        known = ~np.isnan(number)
        row, bucket, number = row[known], bucket[known].astype(np.int64), number[known]
        entered = ticks.bucket(entry).astype(np.int64)
        persons = _entered(ledger.slot, entered, row, bucket, (variant_count, len(ticks)))
        place = _places(np.maximum(bucket, entered[row]), ledger.slot[row])
        return cls._of_rows(persons, place, ledger.actor[row], number[np.newaxis], np.ones(len(row), np.int64))

    @classmethod
    def _of_rows(cls, entered: NDArray[np.int64], place: Rows, owner: Rows, values: Floats, change: Rows) -> Self:
        """Return a distribution in its only form: ordered, and without what cancels out."""
        values = values + 0.0  # there is one zero
        order, start = _distinct([place, owner, *values.view(np.int64)])
        totals = np.add.reduceat(change[order], start) if len(order) else change
        kept = order[start][totals != 0]
        return cls(entered, place[kept], owner[kept], values[:, kept], totals[totals != 0])

    def __add__(self, other: Self) -> Self:
        return self.total([self, other])

    def __sub__(self, other: Self) -> Self:
        return self.total([self, other._negative()])

    def _negative(self) -> Self:
        return type(self)(-self.entered, self.place, self.owner, self.values, -self.change)

    @classmethod
    def total(cls, parts: Sequence[Self]) -> Self:
        """Return the sum of distributions, which is put in order once."""
        entered = np.sum([part.entered for part in parts], axis=0)
        place, owner, change = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("place", "owner", "change")
        )
        return cls._of_rows(entered, place, owner, np.concatenate([part.values for part in parts], axis=1), change)

    def to_bytes(self) -> bytes:
        """Return the fields as ``Counts.to_bytes`` does, compressed: most numbers are small."""
        return zlib.compress(super().to_bytes(), 1)

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Return the distribution that ``to_bytes`` wrote; see ``Counts.from_bytes``."""
        try:
            return super().from_bytes(zlib.decompress(body))
        except zlib.error as error:
            raise ValueError("not a distribution") from error

    def at_the_end(self) -> Self:
        """Return the distribution as if all changes were in the last bucket: what was before it is lost."""
        place = (self.place & _SLOT) | ((self.entered.shape[2] - 1) << _SLOTS)
        return self._of_rows(self.entered, place, self.owner, self.values, self.change)

    def over_time(self) -> "OverTime":
        """Return the numbers of persons, one bucket after the other."""
        return OverTime(self)


class OverTime:
    """The rows of a distribution that differ in more than their bucket, and how many persons each has by a bucket.

    Attributes
    ----------
    slot : int64[r]
    owner : int64[r]
    values : float64[m, r]
        In ascending order of the first value within each variant.
    """

    def __init__(self, found: Distribution) -> None:
        self._found = found
        slot = found.place & _SLOT
        order, start = _distinct([slot, found.owner, *found.values.view(np.int64)])
        rows = order[start]
        by_value = np.lexsort((found.values[0, rows], slot[rows]))
        rank = np.empty(len(rows), dtype=np.int64)
        rank[by_value] = np.arange(len(rows))
        self._row = np.empty(len(order), dtype=np.int64)  # of each change
        self._row[order] = np.repeat(rank, np.diff(np.append(start, len(order))))
        rows = rows[by_value]
        self.slot, self.owner, self.values = slot[rows], found.owner[rows], found.values[:, rows]

    @cached_property
    def of_variants(self) -> list[slice]:
        """The rows of each variant."""
        ends = np.searchsorted(self.slot, np.arange(self._found.entered.shape[1] + 1)).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]

    def buckets(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield each bucket in which anything changes, with the persons in each row at its end."""
        now = np.zeros(len(self.slot), dtype=np.int64)
        of_changes = self._found.place >> _SLOTS  # ascending
        starts = np.flatnonzero(np.diff(of_changes, prepend=-1))
        for start, end in pairwise([*starts.tolist(), len(of_changes)]):
            np.add.at(now, self._row[start:end], self._found.change[start:end])
            yield int(of_changes[start]), now


def _places(bucket: NDArray[Any], slot: NDArray[np.int64]) -> Rows:
    return (bucket.astype(np.int64) << _SLOTS) | slot


def _distinct(keys: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the order of rows by some keys, and where in it other keys begin."""
    order = np.lexsort(keys[::-1])
    is_first = np.zeros(len(order), dtype=np.bool_)
    is_first[:1] = True
    for key in keys:
        ordered = key[order]
        is_first[1:] |= ordered[1:] != ordered[:-1]
    return order, np.flatnonzero(is_first)


def _entered(
    slot: NDArray[np.int64],
    entered: NDArray[np.int64],
    row: Rows,
    bucket: NDArray[Any],
    shape: tuple[int, int],
) -> NDArray[np.int64]:
    persons = np.zeros((2, *shape), dtype=np.int64)
    np.add.at(persons[0], (slot, entered), 1)
    first = np.full(len(slot), shape[1])
    np.minimum.at(first, row, bucket)
    active = np.flatnonzero(first < shape[1])
    np.add.at(persons[1], (slot[active], np.maximum(first, entered)[active]), 1)
    return persons
