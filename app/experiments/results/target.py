"""The counted target metric of an experiment, from which its verdict and its explanation are derived."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.common.nouns import GROUPS
from app.experiments.exposures.counting import Exposures
from app.experiments.results.funnel import judge_funnel
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.experiments.results.trend import judge_trend, show_amounts
from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.funnel import FunnelCounts
from app.metrics.aggregation.trend import TrendCounts
from app.metrics.counting.fact_query import FactQuery
from app.metrics.queries.applied_filters import JsonDict, applied_funnel_filters, applied_trend_filters
from app.metrics.queries.entities import Filters
from app.metrics.queries.models import FunnelQuery, TrendQuery
from app.metrics.queries.scope import ExperimentScope


@dataclass(frozen=True)
class MetricEvidence:
    """The counts of a metric by variant: persons or groups that entered a funnel, or events of a trend.

    ``amount`` names the aggregation of a trend that the rule of 2022 does not apply to; else it is empty. A typed
    metric counts exposed persons or groups; ``is_silent`` says that all of them have 0,
    and ``awaits_windows`` that they count from the end of their window on, whatever they do until then.
    """

    unit: str
    of_variants: Mapping[str, int]
    without_variant: int
    other_variant: int
    amount: str = ""
    is_typed: bool = False
    is_silent: bool = False
    awaits_windows: bool = False

    @property
    def total(self) -> int:
        return sum(self.of_variants.values()) + self.without_variant + self.other_variant


@dataclass(frozen=True)
class CountedFunnel:
    exposures: Exposures
    filters: Filters
    query: FunnelQuery
    counts: FunnelCounts

    @property
    def scope(self) -> ExperimentScope:
        return self.exposures.scope

    @property
    def evidence(self) -> MetricEvidence:
        entered = dict(zip(self.scope.variants, self.counts.of_variants[:, 0].tolist(), strict=True))
        own, unit = self.query.group_type_index, self.exposures.query.unit
        if own not in (None, self.scope.group_type_index):
            unit = GROUPS
        return MetricEvidence(unit, entered, self.counts.without_variant, self.counts.other_variant)

    @property
    def applied_filters(self) -> JsonDict:
        """The filters that took effect."""
        return applied_funnel_filters(self.query, self.filters, self.scope)

    def judge(self) -> FunnelResultsRead:
        """Return the verdict; see ``judge_funnel``."""
        return judge_funnel(self.query, self.counts, self.filters, self.scope)


@dataclass(frozen=True)
class CountedTrend:
    exposures: Exposures
    filters: Filters
    query: TrendQuery
    ticks: Ticks
    are_counts: bool  # of events or persons, as are their weights: the rule of 2022 is about those
    counts: TrendCounts
    weights: TrendCounts  # exposure by the rule of 2022

    @property
    def scope(self) -> ExperimentScope:
        return self.exposures.scope

    @property
    def evidence(self) -> MetricEvidence:
        events = dict(zip(self.scope.variants, self.counts.of_variants.tolist(), strict=True))
        amount = "" if self.are_counts else self.query.math
        return MetricEvidence("events", events, self.counts.without_variant, self.counts.other_variant, amount)

    @property
    def applied_filters(self) -> JsonDict:
        """The filters that took effect."""
        return applied_trend_filters(self.query, self.filters, self.scope)

    def judge(self) -> TrendResultsRead:
        """Return the verdict, if there is one; see ``judge_trend`` and ``show_amounts``."""
        judge_counts = judge_trend if self.are_counts else show_amounts
        return judge_counts(self.query, self.counts, self.ticks, self.weights, self.filters, self.scope)


CountedTarget = CountedFunnel | CountedTrend


@dataclass(frozen=True)
class PlannedTarget:
    """How a target metric is counted: its queries, and what is made of their counts, in the same order."""

    fact_queries: Sequence[FactQuery[Any]]
    counted: Callable[[Exposures, Sequence[Any]], CountedTarget]
