"""Samples: sums and sums of squares over exposed persons, of what each did after the first exposure.

A person belongs to the only variant they were exposed to; persons exposed to several are left out. The sums up to a
bucket are those of an analysis at its end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal, Self, TypeAlias, TypeGuard, get_args

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.counts import BucketedCounts
from app.metrics.aggregation.ledger import Ledger
from app.metrics.facts.columns import FactColumns

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
        Persons; holders, who are the persons with a value (the others have 0); then of the holders a pivot, the sum of
        what their values exceed it by, and the sum of the squares of that. With nine rows a person has a second value,
        the denominator, with a pivot and two sums of its own; the last row is the sum of the products of both excesses.

    Notes
    -----
    The variance of values that are large beside their spread is lost in a sum of their squares. About a pivot near the
    values it is not [1]_; ``moments`` gives the plain sums without rounding. Whole numbers have the pivot 0, so that
    their counts can be added and subtracted without any rounding.

    References
    ----------
    .. [1] Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", *American Statistician* 37 (1983).
    """

    cumulative: Floats

    padding = "edge"

    @property
    @np.errstate(over="ignore", invalid="ignore")
    def is_finite(self) -> bool:
        """Whether all sums, also the plain ones, are finite numbers."""
        plain = _about(self.cumulative, np.zeros_like(self.cumulative[_pivot_rows(self.cumulative)]))
        return bool(np.isfinite(plain).all())

    def moments(self, bucket: int) -> list[list[Fraction]]:
        """Return ``moments`` of each variant at the end of a bucket."""
        return [moments(sums) for sums in self.cumulative[:, :, bucket].T.tolist()]

    def _combined(self, other: Self, combine: Callable[[Any, Any], Any]) -> Self:
        """Return the combination about the pivots of the counts that have holders; of both if they are the same."""
        mine, theirs = self.cumulative, other.cumulative
        pivots = np.where(mine[_HOLDERS] > 0, mine[_pivot_rows(mine)], theirs[_pivot_rows(theirs)])
        mine, theirs = _about(mine, pivots), _about(theirs, pivots)
        together = combine(mine, theirs)
        together[_pivot_rows(together)] = pivots
        return type(self)(together)


def moments(sums: Sequence[float]) -> list[Fraction]:
    """Return the plain sums over persons of one cell of ``SampleCounts``, exactly.

    Returns
    -------
    list of Fraction
        Persons; the sum of their values; the sum of the squares. With nine rows also the sum of the denominators, the
        sum of their squares, and the sum of the products.

    Raises
    ------
    OverflowError, ValueError
        When a sum is not finite.
    """
    persons, holders, pivot, excess, squares, *rest = map(Fraction, sums)
    found = [persons, *_plain(holders, pivot, excess, squares)]
    if not rest:
        return found
    base, other, other_squares, products = rest
    mixed = products + pivot * other + base * excess + holders * pivot * base
    return [*found, *_plain(holders, base, other, other_squares), mixed]


def _plain(holders: Fraction, pivot: Fraction, excess: Fraction, squares: Fraction) -> tuple[Fraction, Fraction]:
    return holders * pivot + excess, squares + 2 * pivot * excess + holders * pivot**2


_HOLDERS, _PIVOT, _BASE = 1, 2, 5  # rows of ``SampleCounts``: holders, and the pivots of the values and denominators


def _pivot_rows(cumulative: Floats) -> list[int]:
    return [_PIVOT, _BASE] if len(cumulative) > _BASE else [_PIVOT]


def _about(cumulative: Floats, pivots: Floats) -> Floats:
    """Return the same sums about other pivots, float64[p, k, b]."""
    moved, holders, by = cumulative.copy(), cumulative[_HOLDERS], cumulative[_pivot_rows(cumulative)] - pivots
    for row, shift in zip(_pivot_rows(cumulative), by, strict=True):
        moved[row + 2] += shift * (2 * cumulative[row + 1] + holders * shift)
        moved[row + 1] += holders * shift
    if len(by) > 1:
        value, denominator = cumulative[_PIVOT + 1], cumulative[_BASE + 1]
        moved[-1] += by[0] * denominator + by[1] * value + holders * by[0] * by[1]
    return moved


@np.errstate(over="ignore", invalid="ignore")
def count_samples(
    exposed: Ledger, events: FactColumns, ticks: Ticks, math: SampleMath, variant_count: int
) -> SampleCounts:
    """Sum up what exposed persons did; sums that overflow are infinite or nan.

    Parameters
    ----------
    exposed : Ledger
        Persons of one variant each.
    events : FactColumns
        Events without an actor do not count.
    math : {"total", "dau", "sum", "avg"}
        A person's value: the number of events; 1 if there is any; the sum of their numbers; or that sum with the
        number of events that have a number as the denominator.
    """
    persons = np.zeros((variant_count, len(ticks)))
    np.add.at(persons, (exposed.slot, ticks.bucket(exposed.time)), 1)
    row, events = exposed.events_since(events)
    if math in {"sum", "avg"}:
        has_number = ~np.isnan(events.value)
        row, events = row[has_number], events.select(has_number)
    cells = _Cells.of(row, ticks.bucket(events.time))
    sums = cells.over_persons(_values(cells, events, math), exposed.slot, persons.shape)
    return SampleCounts(np.concatenate([np.cumsum(persons, axis=1)[np.newaxis], sums]))


@dataclass(frozen=True)
class _Values:
    """A running value of each person, from each of their cells on: the unevaluated sum of two floats.

    Where values are not whole numbers, sums are taken about a pivot.
    """

    high: Floats
    low: Floats
    is_whole: bool

    def pivot(self, place: int) -> float:
        """Return the value of a cell as the pivot for others."""
        return 0.0 if self.is_whole else float(self.high[place] + self.low[place])

    def excess(self, cells: NDArray[np.bool_], pivots: Floats) -> Floats:
        """Return what the values of some cells exceed their pivots by, to within one rounding."""
        high, pivots = self.high[cells], -pivots
        total = high + pivots
        part = total - high
        return total + (self.low[cells] + ((high - (total - part)) + (pivots - part)))


def _values(cells: "_Cells", events: FactColumns, math: SampleMath) -> list[_Values]:
    """Return the values of persons, and their denominators if they have any."""
    counts = cells.running(np.ones(len(events)))
    nothing = np.zeros(len(counts))
    if math == "dau":
        return [_Values(np.minimum(counts, 1), nothing, is_whole=True)]
    if math == "total":
        return [_Values(counts, nothing, is_whole=True)]
    high, low = cells.split(events.value)
    values = _Values(cells.running(high), cells.running(low), is_whole=False)
    return [values] if math == "sum" else [values, _Values(counts, nothing, is_whole=False)]


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

    def split(self, values: Floats) -> tuple[Floats, Floats]:
        """Split the values of events into two parts, so that the high parts of a person's events add up exactly.

        The high parts are multiples of the same power of two, of at most 27 bits; the sum of 2 ** 26 of them has 53.
        """
        if not len(values):
            return values, values
        sizes, starts = np.abs(values[self.order]), self._rank() == 0
        largest = np.maximum.reduceat(sizes, self.first[starts])
        unit = np.ldexp(1.0, np.maximum(np.frexp(largest)[1], _SMALLEST_EXPONENT) - _BITS)
        units = np.empty(len(values))
        units[self.order] = np.repeat(unit, np.diff(np.append(self.first[starts], len(values))))
        high = np.rint(values / units) * units
        return high, values - high

    def over_persons(self, values: "Sequence[_Values]", slot: NDArray[np.int64], shape: tuple[int, int]) -> Floats:
        """Return the rows of ``SampleCounts`` after the first: sums over the persons of each variant in each bucket.

        A person's value holds from a cell to the next one. Values are added and never subtracted, so that a large one
        that was undone leaves no rounding error.
        """
        until = np.full(len(self.row), shape[1])
        is_followed = self._rank()[1:] > 0
        until[:-1][is_followed] = self.bucket[1:][is_followed]
        variant = slot[self.row]
        levels = np.zeros((1 + 3 * len(values) + (len(values) > 1), *shape))
        changes = np.union1d(self.bucket, until[until < shape[1]]).tolist()
        for bucket, following in pairwise([*changes, shape[1]]):
            holds = (self.bucket <= bucket) & (bucket < until)
            levels[:, :, bucket:following] = _sums(values, holds, variant[holds], shape[0])[:, :, np.newaxis]
        return levels

    def _rank(self) -> NDArray[np.intp]:
        """Return the position of each cell among those of its person, from 0."""
        index = np.arange(len(self.row))
        starts = np.ones(len(self.row), dtype=np.bool_)
        starts[1:] = np.diff(self.row) != 0
        return index - np.maximum.accumulate(np.where(starts, index, 0))


_BITS = 26
_SMALLEST_EXPONENT = -900  # smaller values are all low part


def _sums(
    values: Sequence[_Values], cells: NDArray[np.bool_], variant: NDArray[np.int64], variant_count: int
) -> Floats:
    """Sum values over some cells, one of each holder: the rows of ``SampleCounts`` after the first."""

    def total(weights: Floats | None = None) -> Floats:
        return np.bincount(variant, weights, minlength=variant_count).astype(np.float64)

    present, first = np.unique(variant, return_index=True)
    places = np.flatnonzero(cells)[first]
    rows, excesses = [total()], []
    for one in values:
        pivots = np.zeros(variant_count)
        pivots[present] = [one.pivot(place) for place in places]
        excesses.append(one.excess(cells, pivots[variant]))
        rows += [pivots, total(excesses[-1]), total(excesses[-1] ** 2)]
    if len(values) > 1:
        rows.append(total(excesses[0] * excesses[1]))
    return np.stack(rows)
