r"""Quantiles of the values of exposed persons, or of the numbers of their events, and the order statistics around them.

Of n independent values in ascending order, the quantile at level v is the one at :math:`\lfloor v n \rfloor` from 0. It
lies between those at :math:`v n \mp z \sqrt{v (1 - v) n}` with a given confidence, whatever the distribution
is: the ends are values that occurred, and where many are equal the interval may have no width. Numbers of the events of
one person are not independent: the variance is multiplied by a cluster factor before the positions are read off. It is
that of the share of events up to the quantile by the delta method over persons, divided by what it would be if events
were independent.

References
----------
A. Deng, U. Knoblich and J. Lu, *Applying the delta method in metric analytics: a practical guide with novel ideas*, KDD
2018, section 4.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.counts import BucketedCounts
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.person_values import Floats, PersonValues, Rows

_LEAST = 4  # of values on either side of the quantile, in units of the odds: fewer have no order statistics around it


@dataclass(frozen=True)
class QuantileRule:
    """Which quantile, and how sure it is to lie between the order statistics around it: both in 0 to 1."""

    level: float
    confidence: float
    ignores_zeros: bool = False

    @property
    def z(self) -> float:
        return NormalDist().inv_cdf((1 + self.confidence) / 2)

    def places(self, count: int, cluster_factor: float = 1.0) -> tuple[int, int, int] | None:
        """Return the positions of the lower order statistic, the quantile and the upper one among ascending values.

        None where there are too few values.
        """
        level, effective = self.level, count / max(cluster_factor, 1e-300)
        rarer = min(level, 1 - level)
        if count == 0 or effective * rarer <= _LEAST * (1 - rarer):
            return None
        half = self.z * math.sqrt(level * (1 - level) * cluster_factor * count)
        lower, upper = math.floor(level * count - half) - 1, math.ceil(level * count + half)
        if lower < 0 or upper >= count:
            return None
        return lower, self.place(count), upper

    def place(self, count: int) -> int:
        return min(int(self.level * count), count - 1)


@dataclass(frozen=True)
class QuantileCounts(BucketedCounts):
    """A quantile of k variants at the end of each of b buckets of time.

    Attributes
    ----------
    cumulative : float64[6, k, b]
        Persons; those of them with any event; the values that are compared; the quantile of these, nan without any; the
        lower and the upper order statistic around it, nan with too few.
    confidence : float
        How sure the quantile is to lie between them.
    """

    cumulative: Floats
    confidence: float

    padding = "edge"


def count_person_quantiles(
    ledger: Ledger, entry: NDArray[np.int64], values: PersonValues, rule: QuantileRule, ticks: Ticks, variant_count: int
) -> QuantileCounts:
    """Find the quantile of the values of persons; of persons without events that is 0, which may be ignored."""
    found, entered = _Buckets(ledger, entry, values.row, values.bucket, ticks, variant_count), ticks.bucket(entry)
    of_variants = [np.flatnonzero(ledger.slot == variant) for variant in range(variant_count)]
    now, applied = np.zeros(len(ledger)), 0
    for bucket in found.changed():
        end = int(np.searchsorted(values.bucket, bucket, side="right"))
        now[values.row[applied:end]] = values.value[applied:end]  # of several changes of a person, the last one
        applied = end
        for variant, rows in enumerate(of_variants):
            compared = now[rows[entered[rows] <= bucket]]
            if rule.ignores_zeros:
                compared = compared[compared != 0]
            places = rule.places(len(compared))
            found.write(bucket, variant, _values_at(compared, places, rule), len(compared))
    return found.counts(rule)


def count_event_quantiles(
    ledger: Ledger,
    entry: NDArray[np.int64],
    events: tuple[Rows, NDArray[np.intp], Floats],
    rule: QuantileRule,
    ticks: Ticks,
    variant_count: int,
) -> QuantileCounts:
    """Find the quantile of the numbers of events, which come in clusters: those of a person.

    Parameters
    ----------
    events
        The row of each event's person, its bucket and its number.
    """
    row, bucket, number = events
    known = ~np.isnan(number)
    row, bucket, number = row[known], bucket[known], number[known]
    found = _Buckets(ledger, entry, row, bucket, ticks, variant_count)
    order = np.argsort(number, kind="stable")
    row, number = row[order], number[order]
    bucket, slot = np.maximum(bucket[order], ticks.bucket(entry)[row]), ledger.slot[row]
    apart = [np.flatnonzero(slot == variant) for variant in range(variant_count)]
    for now in found.changed():
        for variant, rows in enumerate(apart):
            own = rows[bucket[rows] <= now]
            compared = number[own]
            places = None
            if len(own):
                factor = _cluster_factor(
                    row[own], int(np.searchsorted(compared, compared[rule.place(len(own))], "right"))
                )
                places = rule.places(len(own), factor)
            found.write(now, variant, _values_at(compared, places, rule), len(own))
    return found.counts(rule)


def _values_at(values: Floats, places: tuple[int, int, int] | None, rule: QuantileRule) -> Sequence[float]:
    """Return the quantile and the order statistics around it of values in any order; nan for what there is not."""
    if places is None:
        place = rule.place(len(values))
        return (float(np.partition(values, place)[place]) if len(values) else np.nan, np.nan, np.nan)
    lower, place, upper = places
    ordered = np.partition(values, places)
    return float(ordered[place]), float(ordered[lower]), float(ordered[upper])


def _cluster_factor(person: Rows, below: int) -> float:
    """Return how much more the share of the first events varies than that of independent events would."""
    _, cluster = np.unique(person, return_inverse=True)
    sizes = np.bincount(cluster).astype(np.float64)
    share, clusters = below / len(person), len(sizes)
    if clusters < 2 or share == 1:
        return 1.0
    residuals = np.bincount(cluster[:below], minlength=clusters) - share * sizes
    variance = float(residuals @ residuals) * clusters / (clusters - 1) / len(person) ** 2
    return variance * len(person) / (share * (1 - share))


class _Buckets:
    """The counts of one bucket after the other; those without anything new are as the one before."""

    def __init__(
        self,
        ledger: Ledger,
        entry: NDArray[np.int64],
        row: Rows,
        bucket: NDArray[np.intp],
        ticks: Ticks,
        variant_count: int,
    ) -> None:
        entered = ticks.bucket(entry)
        added = np.zeros((2, variant_count, len(ticks)))
        np.add.at(added[0], (ledger.slot, entered), 1)
        first = np.full(len(ledger), len(ticks))
        np.minimum.at(first, row, bucket)
        active = np.flatnonzero(first < len(ticks))
        np.add.at(added[1], (ledger.slot[active], np.maximum(first, entered)[active]), 1)
        self._cumulative = np.full((6, variant_count, len(ticks)), np.nan)
        self._cumulative[:2] = np.cumsum(added, axis=2)
        self._cumulative[2] = 0
        self._news = np.union1d(entered, bucket)

    def changed(self) -> Iterator[int]:
        """Yield each bucket, those without anything new filled."""
        for bucket in range(self._cumulative.shape[2]):
            if bucket in self._news:
                yield bucket
            elif bucket:
                self._cumulative[2:, :, bucket] = self._cumulative[2:, :, bucket - 1]

    def write(self, bucket: int, variant: int, values: Sequence[float], count: int) -> None:
        self._cumulative[2:, variant, bucket] = (count, *values)

    def counts(self, rule: QuantileRule) -> QuantileCounts:
        return QuantileCounts(self._cumulative, rule.confidence)
