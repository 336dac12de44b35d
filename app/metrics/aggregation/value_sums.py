"""Sums over exposed persons of their values, by variant and bucket of time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.counts import BucketedCounts
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.person_values import Floats, PersonValues, Rows
from app.metrics.aggregation.precise_sums import Sums, add, summed, summed_products


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
class ValueCounts(BucketedCounts):
    """Sums over exposed persons of one or more values of each: a number, a numerator and a denominator, covariates.

    Attributes
    ----------
    cumulative : float64[1 + 2 s, k, b]
        Persons; then of each of s sums the nearest float and what is left of it. The sums are those of each value and
        of its squares, one value after the other, and then those of the products of each two values.
    capped : float64[values, 4]
        Of each value that has outliers, at the end: the lower and the upper cap, and the persons below and above.

    Notes
    -----
    Two floats hold a sum to 32 digits. The variance of values that are large beside their spread keeps its digits, and
    so does a sum that new facts are added to: what was taken out of it leaves no rounding error that could be seen.
    """

    cumulative: Floats
    capped: Floats

    padding = "edge"

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.cumulative).all())

    def moments(self, bucket: int) -> list[list[Fraction]]:
        """Return the persons and the sums of each variant at the end of a bucket, exactly as they are held.

        Raises
        ------
        OverflowError, ValueError
            When a sum is not finite.
        """
        found = []
        for persons, *sums in self.cumulative[:, :, bucket].T.tolist():
            pairs = zip(sums[::2], sums[1::2], strict=True)
            found.append([Fraction(persons), *(Fraction(high) + Fraction(low) for high, low in pairs)])
        return found

    @np.errstate(over="ignore", invalid="ignore")
    def _combined(self, other: Self, combine: Callable[[Any, Any], Any]) -> Self:
        """Return the combination of counts without outliers, which have no caps."""
        theirs = combine(np.zeros_like(other.cumulative), other.cumulative)
        together = self.cumulative + theirs
        mine = Sums(self.cumulative[1::2], self.cumulative[2::2])
        together[1::2], together[2::2] = add(mine, Sums(theirs[1::2], theirs[2::2]))
        return type(self)(together, self.capped)


@dataclass(frozen=True)
class SummedValue:
    """A value of persons, and what is done to it before it is summed up.

    ``threshold``: the value is 1 where it is at least that, else 0. ``is_whole``: values are whole numbers, whose sums
    are exact.
    """

    values: PersonValues
    is_whole: bool
    outliers: Outliers | None = None
    threshold: float | None = None


@np.errstate(over="ignore", invalid="ignore")
def sum_values(
    ledger: Ledger, entry: NDArray[np.int64], values: Sequence[SummedValue], ticks: Ticks, variant_count: int
) -> ValueCounts:
    """Sum up the values of each person by variant; sums that overflow are infinite or nan.

    Parameters
    ----------
    ledger
        Persons of one variant each.
    entry : int64[n]
        From when on each of them is counted.
    """
    entered = ticks.bucket(entry)
    persons = np.zeros((variant_count, len(ticks)))
    np.add.at(persons, (ledger.slot, entered), 1)
    pairs = len(values) * (len(values) + 1) // 2 + len(values)
    cumulative = np.zeros((1 + 2 * pairs, variant_count, len(ticks)))
    cumulative[0] = np.cumsum(persons, axis=1)
    order = _replayed(entered, values)
    place = np.empty(len(ledger), dtype=np.int64)
    place[order] = np.arange(len(order))
    slot, present = ledger.slot[order], np.searchsorted(entered[order], np.arange(len(ticks)), side="right").tolist()
    running = [_Replay(one, place) for one in values]
    for bucket, count in enumerate(present):
        changed = [one.advance(bucket) for one in running]
        if bucket and not any(changed) and count == present[bucket - 1]:
            cumulative[1:, :, bucket] = cumulative[1:, :, bucket - 1]
            continue
        cumulative[1:, :, bucket] = _sums(running, slot[:count], variant_count)
    return ValueCounts(cumulative, np.array([one.capped for one in running]))


def _replayed(entered: NDArray[np.intp], values: Sequence[SummedValue]) -> NDArray[np.intp]:
    """Return the persons whose values are followed, by their entry: all where caps depend on all, else who has any."""
    if any(one.outliers is not None for one in values):
        return np.argsort(entered, kind="stable")
    active = np.unique(np.concatenate([one.values.row for one in values])).astype(np.intp)
    return active[np.argsort(entered[active], kind="stable")]


def _sums(running: Sequence["_Replay"], slot: Rows, variant_count: int) -> Floats:
    """Return the rows of ``ValueCounts`` after the first for the persons who have entered."""
    values = [one.read(len(slot)) for one in running]
    rows: list[Floats] = []
    for one, own in zip(running, values, strict=True):
        rows += summed(slot, own, variant_count, is_whole=one.is_whole)
        rows += summed_products(slot, own, own, variant_count, is_whole=one.is_whole)
    for (one, first), (other, second) in combinations(zip(running, values, strict=True), 2):
        rows += summed_products(slot, first, second, variant_count, is_whole=one.is_whole and other.is_whole)
    return np.stack(rows)


class _Replay:
    """One value of all persons at the end of one bucket after the other, by the order of their entry."""

    def __init__(self, summed: SummedValue, place: NDArray[np.int64]) -> None:
        values = summed.values
        self._summed = summed
        self.is_whole = summed.is_whole
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
