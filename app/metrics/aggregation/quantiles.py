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
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from app.metrics.aggregation.counts import BucketedCounts
from app.metrics.aggregation.distribution import Distribution
from app.metrics.aggregation.person_values import Floats, Rows

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
        lower, upper = math.floor(level * count - half), math.ceil(level * count + half) - 1
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


def read_quantiles(found: Distribution, rule: QuantileRule) -> QuantileCounts:
    """Read the quantile of the values of persons, or of the numbers of their events, off their distribution.

    The value of persons without events is 0, which may be ignored. Events come in clusters: those of a person.
    """
    over_time, (_, variant_count, buckets) = found.over_time(), found.entered.shape
    cumulative = np.full((6, variant_count, buckets), np.nan)
    cumulative[:2] = np.cumsum(found.entered, axis=2)
    cumulative[2] = 0
    values = over_time.values[0]
    are_events = bool(over_time.owner.any())
    for bucket, numbers in over_time.buckets():
        compared = np.where(values == 0, 0, numbers) if rule.ignores_zeros else numbers
        for variant, rows in enumerate(over_time.of_variants):
            up_to = np.cumsum(compared[rows])
            total = int(up_to[-1]) if len(up_to) else 0
            factor = 1.0
            if are_events and total:
                last = np.searchsorted(values[rows], _value_at(values[rows], up_to, rule.place(total)), side="right")
                factor = _cluster_factor(over_time.owner[rows], compared[rows], int(last))
            places = rule.places(total, factor)
            now = [np.nan, np.nan, np.nan]
            if places is not None:
                lower, place, upper = places
                now = [_value_at(values[rows], up_to, one) for one in (place, lower, upper)]
            elif total:
                now[0] = _value_at(values[rows], up_to, rule.place(total))
            cumulative[2:, variant, bucket:] = np.array([total, *now])[:, np.newaxis]
    return QuantileCounts(cumulative, rule.confidence)


def _value_at(values: Floats, up_to: Rows, place: int) -> float:
    """Return the value at a position, from 0, in ascending order; ``up_to`` counts the values up to each one."""
    return float(values[np.searchsorted(up_to, place, side="right")])


def _cluster_factor(owner: Rows, numbers: Rows, last: int) -> float:
    """Return how much more the share of the first events varies than that of independent events would.

    Parameters
    ----------
    owner, numbers
        Of ascending values: whose events have it, and how many.
    last
        How many of these values are up to the quantile.
    """
    rows = np.flatnonzero(numbers)
    _, cluster = np.unique(owner[rows], return_inverse=True)
    sizes = np.bincount(cluster, numbers[rows])
    is_below = rows < last
    below = np.bincount(cluster[is_below], numbers[rows[is_below]], minlength=len(sizes))
    total, clusters = float(sizes.sum()), len(sizes)
    share = float(below.sum()) / total
    if clusters < 2 or share == 1:
        return 1.0
    residuals = below - share * sizes
    variance = float(residuals @ residuals) * clusters / (clusters - 1) / total**2
    return variance * total / (share * (1 - share))
