"""Samples: sums and sums of squares over exposed persons, of what each did after the first exposure.

A person belongs to the only variant they were exposed to; persons exposed to several are left out. The sums up to a
bucket are those of an analysis at its end.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, TypeGuard, get_args

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.counts import BucketedCounts
from app.metrics.facts.columns import NO_VARIANT, FactColumns

SampleMath: TypeAlias = Literal["total", "dau", "sum", "avg"]

Floats: TypeAlias = NDArray[np.float64]


def is_sample_math(name: str) -> TypeGuard[SampleMath]:
    """Whether an aggregation gives a value per person."""
    return name in get_args(SampleMath)


@dataclass(frozen=True)
class SampleCounts(BucketedCounts):
    """Sums over the persons of k variants up to the end of each of b buckets of time.

    Attributes
    ----------
    cumulative : float64[m, k, b]
        Persons; the sum of their values; the sum of the squares. With six rows a person has a second value, the
        denominator: its sum, the sum of its squares, the sum of the products of both values.
    """

    cumulative: Floats

    padding = "edge"


@np.errstate(over="ignore", invalid="ignore")
def count_samples(
    exposures: FactColumns, events: FactColumns, ticks: Ticks, math: SampleMath, variant_count: int
) -> SampleCounts:
    """Sum up what exposed persons did; sums that overflow are infinite or nan.

    Parameters
    ----------
    math : {"total", "dau", "sum", "avg"}
        A person's value: the number of events; 1 if there is any; the sum of their numbers; or that sum with the
        number of events that have a number as the denominator.
    """
    exposed = _Exposed.of(exposures, variant_count)
    persons = np.zeros((variant_count, len(ticks)))
    np.add.at(persons, (exposed.slot, ticks.bucket(exposed.time)), 1)
    row, events = exposed.events_after(events)
    if math in {"sum", "avg"}:
        has_number = ~np.isnan(events.value)
        row, events = row[has_number], events.select(has_number)
    cells = _Cells.of(row, ticks.bucket(events.time))
    sums = [cells.over_persons(values, exposed.slot, persons.shape) for values in _values(cells, events, math)]
    return SampleCounts(np.stack([np.cumsum(persons, axis=1), *sums]))


def _values(cells: "_Cells", events: FactColumns, math: SampleMath) -> list[Floats]:
    """Return the values to sum over persons: each person's running value from each of their cells on."""
    counts = cells.running(np.ones(len(events)))
    if math == "dau":
        return [np.minimum(counts, 1)] * 2
    if math == "total":
        return [counts, counts**2]
    values = cells.running(events.value)
    return [values, values**2] if math == "sum" else [values, values**2, counts, counts**2, values * counts]


@dataclass(frozen=True)
class _Exposed:
    """Persons that were exposed to one variant only, in ascending order, and when they were exposed first."""

    actor: NDArray[np.int64]
    slot: NDArray[np.int64]  # the variant, from 0
    time: NDArray[np.int64]

    @classmethod
    def of(cls, exposures: FactColumns, variant_count: int) -> "_Exposed":
        known = exposures.select((exposures.variant > NO_VARIANT) & (exposures.variant <= variant_count))
        order = np.argsort(known.actor, kind="stable")
        actor, first = np.unique(known.actor[order], return_index=True)
        if not len(actor):
            return cls(actor, np.empty(0, np.int64), np.empty(0, np.int64))
        variant, time = known.variant[order], known.time[order]
        lowest, highest = np.minimum.reduceat(variant, first), np.maximum.reduceat(variant, first)
        one = lowest == highest
        return cls(actor[one], lowest[one].astype(np.int64) - 1, np.minimum.reduceat(time, first)[one])

    def events_after(self, events: FactColumns) -> tuple[NDArray[np.int64], FactColumns]:
        """Return the events at or after the first exposure of their person, each with the person's row."""
        if not len(self.actor):
            return np.empty(0, np.int64), events.select(np.zeros(len(events), dtype=np.bool_))
        row = np.minimum(np.searchsorted(self.actor, events.actor), len(self.actor) - 1)
        counts = (self.actor[row] == events.actor) & (events.time >= self.time[row])
        return row[counts].astype(np.int64), events.select(counts)


@dataclass(frozen=True)
class _Cells:
    """The buckets in which each person has events, in the order of time."""

    order: NDArray[np.intp]  # of the events
    first: NDArray[np.intp]  # [cells], the position of a cell's first event in that order
    row: NDArray[np.int64]  # [cells], the person
    bucket: NDArray[np.intp]  # [cells]

    @classmethod
    def of(cls, row: NDArray[np.int64], bucket: NDArray[np.intp]) -> "_Cells":
        order = np.lexsort((bucket, row))
        sorted_row, sorted_bucket = row[order], bucket[order]
        is_first = np.ones(len(order), dtype=np.bool_)
        is_first[1:] = (np.diff(sorted_row) != 0) | (np.diff(sorted_bucket) != 0)
        first = np.flatnonzero(is_first)
        return cls(order, first, sorted_row[first], sorted_bucket[first])

    def running(self, values: Floats) -> Floats:
        """Return the sum of each person's values up to the end of each of the person's cells.

        The cells of a person are added one after the other, not as differences of a sum over all persons: the large
        values of others would cost digits.
        """
        if not len(self.first):
            return np.empty(0)
        sums = np.add.reduceat(values[self.order], self.first)
        rank = self._rank()
        for place in range(1, int(rank.max()) + 1):
            now = np.flatnonzero(rank == place)
            sums[now] += sums[now - 1]
        return sums

    def over_persons(self, running: Floats, slot: NDArray[np.int64], shape: tuple[int, int]) -> Floats:
        """Return the sum over the persons of each variant of their values at the end of each bucket.

        A person's value holds from a cell to the next one. Values are added and never subtracted, so that a large one
        that was undone leaves no rounding error.
        """
        until = np.full(len(self.row), shape[1])
        is_followed = self._rank()[1:] > 0
        until[:-1][is_followed] = self.bucket[1:][is_followed]
        variant = slot[self.row]
        levels = np.zeros(shape)
        changes = np.union1d(self.bucket, until[until < shape[1]]).tolist()
        for bucket, following in pairwise([*changes, shape[1]]):
            holds = (self.bucket <= bucket) & (bucket < until)
            level = np.bincount(variant[holds], weights=running[holds], minlength=shape[0])
            levels[:, bucket:following] = level[:, np.newaxis]
        return levels

    def _rank(self) -> NDArray[np.intp]:
        """Return the position of each cell among those of its person, from 0."""
        index = np.arange(len(self.row))
        starts = np.ones(len(self.row), dtype=np.bool_)
        starts[1:] = np.diff(self.row) != 0
        return index - np.maximum.accumulate(np.where(starts, index, 0))
