"""Trends: events or actors per bucket of time, under the variant that each event names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeGuard, get_args

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks, always
from app.metrics.aggregation.counts import BucketedCounts
from app.metrics.aggregation.numbering import lowest_of_each
from app.metrics.facts.columns import NO_VARIANT, FactColumns

Math: TypeAlias = Literal[
    "total",
    "dau",
    "sum",
    "avg",
    "min",
    "max",
    "median",
    "p90",
    "p95",
    "p99",
    "avg_count_per_actor",
    "min_count_per_actor",
    "max_count_per_actor",
    "median_count_per_actor",
    "p90_count_per_actor",
    "p95_count_per_actor",
    "p99_count_per_actor",
]
PROPERTY_MATHS: frozenset[Math] = frozenset({"sum", "avg", "min", "max", "median", "p90", "p95", "p99"})

_PER_ACTOR = "_count_per_actor"
_REDUCTIONS: dict[str, Callable[[NDArray[np.float64]], float]] = {
    "sum": lambda values: float(np.sum(values)),
    "avg": lambda values: float(np.mean(values)),
    "min": lambda values: float(np.min(values)),
    "max": lambda values: float(np.max(values)),
    "median": lambda values: float(np.quantile(values, 0.5)),
    "p90": lambda values: float(np.quantile(values, 0.9)),
    "p95": lambda values: float(np.quantile(values, 0.95)),
    "p99": lambda values: float(np.quantile(values, 0.99)),
}


def is_math(name: str | None) -> TypeGuard[Math]:
    """Whether a name is that of an aggregation of trends."""
    return name in get_args(Math)


@dataclass(frozen=True)
class TrendCounts(BucketedCounts):
    """A trend of b buckets for k variants.

    Attributes
    ----------
    values : float64[k, b]
        The aggregated value of each bucket; 0 without facts.
    events : int64[k + 2]
        Events by variant: first those without a variant, last those with a variant the flag does not have.
    """

    values: NDArray[np.float64]
    events: NDArray[np.int64]

    @property
    def of_variants(self) -> NDArray[np.int64]:
        """The part of ``events`` that belongs to the variants, int64[k]."""
        return self.events[1:-1]

    @property
    def without_variant(self) -> int:
        """Events that name no variant."""
        return int(self.events[NO_VARIANT])

    @property
    def other_variant(self) -> int:
        """Events that name a variant which the flag does not have."""
        return int(self.events[-1])

    @property
    def count(self) -> NDArray[np.float64]:
        """Total of each variant: the sum over its buckets, float64[k]."""
        return np.asarray(self.values.sum(axis=1))

    @property
    def cumulative(self) -> NDArray[np.float64]:
        """Running total of each variant, float64[k, b]."""
        return np.cumsum(self.values, axis=1)


def additive_over(math: Math) -> Literal["events", "actors"] | None:
    """Return what the counts of an aggregation are sums over; None when they are not sums of whole numbers."""
    if math == "total":
        return "events"
    return "actors" if math == "dau" else None


def aggregate_trend(facts: FactColumns, ticks: Ticks, math: Math, variant_count: int) -> TrendCounts:
    """Aggregate the facts of one series by variant and bucket.

    ``total`` counts events; ``dau`` counts each actor once per variant, in the bucket of its first event, so that the
    running total is the number of distinct actors. The others reduce, inside each bucket, either the values of a
    numeric property or the numbers of events of the bucket's actors; quantiles interpolate linearly at ``q * (n - 1)``.
    """
    events = np.bincount(facts.variant, minlength=variant_count + 2)
    shape = (variant_count, len(ticks))
    if math == "dau":
        return TrendCounts(_first_appearances(facts, ticks, variant_count).astype(np.float64), events)
    known = (facts.variant > NO_VARIANT) & (facts.variant <= variant_count)
    slot = facts.variant[known].astype(np.int64) - 1
    cell = slot * len(ticks) + ticks.bucket(facts.time[known])
    if math == "total":
        values = np.bincount(cell, minlength=variant_count * len(ticks)).astype(np.float64)
    elif math.endswith(_PER_ACTOR):
        pairs, counts = np.unique(np.stack((cell, facts.actor[known])), axis=1, return_counts=True)
        values = _reduce(pairs[0], counts.astype(np.float64), math.removesuffix(_PER_ACTOR), len(ticks) * variant_count)
    else:
        value = facts.value[known]
        numeric = ~np.isnan(value)
        values = _reduce(cell[numeric], value[numeric], math, len(ticks) * variant_count)
    return TrendCounts(values.reshape(shape), events)


def count_exposed(facts: FactColumns, variant_count: int) -> TrendCounts:
    """Count the distinct actors of each variant, in a single bucket; an actor with several variants counts in each."""
    return aggregate_trend(facts.with_actor(), always(), "dau", variant_count)


def _first_appearances(facts: FactColumns, ticks: Ticks, variant_count: int) -> NDArray[np.int64]:
    """Return how many actors of each variant appear first in each bucket, int64[k, b]."""
    firsts = np.zeros((variant_count, len(ticks)), dtype=np.int64)
    for slot in range(variant_count):
        rows = np.flatnonzero(facts.variant == slot + 1)
        first = lowest_of_each(facts.actor[rows], facts.time[rows])
        firsts[slot] = np.bincount(ticks.bucket(first), minlength=len(ticks))
    return firsts


def _reduce(cell: NDArray[np.int64], values: NDArray[np.float64], name: str, cell_count: int) -> NDArray[np.float64]:
    """Apply a reduction to the values of each cell; cells without values are 0.

    Values are sorted inside a cell, so that the result does not depend on the order of arrival.
    """
    order = np.lexsort((values, cell))
    cells, first = np.unique(cell[order], return_index=True)
    reduced = np.zeros(cell_count)
    for index, part in zip(cells, np.split(values[order], first[1:]), strict=True) if len(cells) else ():
        reduced[index] = _REDUCTIONS[name](part)
    return reduced
