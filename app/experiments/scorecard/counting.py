"""Counts what an experiment's analysis is based on: metrics -> queries -> facts -> counts by day."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.common.errors import ValidationFailed
from app.common.nouns import capitalized
from app.common.time_slices import TimeSlices
from app.db.models import Experiment
from app.experiments.exposures.counting import ExposurePlan, ExposurePlanner, Exposures
from app.experiments.scorecard.experiment_metrics import PRIMARY, ExperimentMetric, metrics_of
from app.experiments.scorecard.metric_wording import MetricDescriber
from app.experiments.scorecard.metrics import (
    DailyCounts,
    MetricType,
    metric_type_of,
    person_level_math,
    sample_fact_query,
    variants_of,
)
from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.funnel_by_day import FunnelProgress
from app.metrics.aggregation.quantiles import QuantileCounts
from app.metrics.aggregation.value_sums import ValueCounts
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import EventsRemoved, FactService
from app.metrics.queries.breakdown import Breakdown, PersonKeys, breakdown_fact_query
from app.metrics.queries.exposure_attribution import attributed
from app.metrics.queries.funnel import progress_fact_query
from app.metrics.queries.parsing import foreign_groups, read_insight
from app.metrics.queries.scope import ExperimentScope
from app.metrics.queries.service import MetricQueryBuilder
from app.metrics.queries.typed.fact_queries import typed_fact_query
from app.metrics.queries.wording import MetricWording
from app.statistics.analysis import analyze_metrics
from app.statistics.frequentist.sample_ratio import SampleRatio
from app.statistics.results import Analysis, AnalysisConfig
from app.statistics.variants import MetricVariant

EXPOSURES = "exposures"
# Without their counts an experiment has neither results nor health.
NEEDED_METRICS = frozenset({PRIMARY, EXPOSURES})
_ADJUSTABLE = frozenset({"mean", "ratio", "funnel"})
_OWN_SUMS_OF_MEAN, _OWN_SUMS_OF_RATIO = 3, 6  # of ``moments``


@dataclass(frozen=True)
class CountedMetric:
    """A metric with its counts at the end of each day; without counts, ``problem`` says why.

    Attributes
    ----------
    kind : {"funnel", "mean", "ratio", "quantile"}
    counts : counts
        See ``variants_of``.
    """

    metric: ExperimentMetric
    kind: MetricType | None
    counts: DailyCounts | None
    problem: str = ""
    digest: str = ""  # of the query that was counted
    wording: MetricWording | None = None  # None where it cannot be compared
    has_covariate: bool = False

    @property
    def caps(self) -> Sequence[NDArray[np.float64]]:
        """Of each value that has outliers; see ``ValueCounts``."""
        return list(self.counts.capped) if isinstance(self.counts, ValueCounts) else ()

    @property
    def persons(self) -> list[int]:
        """The persons of each variant who are counted; none without counts."""
        return [] if self.counts is None else self.counts.cumulative[0, :, -1].astype(int).tolist()

    @property
    def steps(self) -> list[list[int]] | None:
        """The persons of each variant at each step, of a funnel or retention."""
        return self.counts.cumulative[:, :, -1].T.tolist() if isinstance(self.counts, FunnelProgress) else None

    @property
    def is_silent(self) -> bool:
        """Whether no person has done anything that the metric counts."""
        match self.counts:
            case FunnelProgress() as progress:
                return not progress.cumulative[1:, :, -1].any()
            case QuantileCounts() as quantiles:
                return not quantiles.cumulative[1, :, -1].any()
            case None:
                return True
            case sums:
                own = slice(1, _OWN_SUMS_OF_RATIO if self.kind == "ratio" else _OWN_SUMS_OF_MEAN)  # without a covariate
                return not any(any(row[own]) for row in sums.moments(-1))

    def variants(self, keys: Sequence[str], day: int) -> list[MetricVariant] | None:
        """Return the counts of each variant at the end of a day, if there are any that can be analyzed."""
        if self.counts is None or self.kind is None or (isinstance(self.counts, ValueCounts) and self.counts.flat[day]):
            return None
        try:
            return variants_of(self.counts, self.kind, keys, day)
        except (OverflowError, ValueError):  # of amounts so large that their squares are not finite
            return None


@dataclass(frozen=True)
class Scorecard:
    """What an experiment's analysis is based on, counted as of one moment."""

    exposures: Exposures
    metrics: Sequence[CountedMetric]

    @property
    def scope(self) -> ExperimentScope:
        return self.exposures.scope

    @property
    def ticks(self) -> Ticks:
        return self.exposures.ticks

    @property
    def sample_ratio(self) -> SampleRatio | None:
        """See ``Exposures.sample_ratio``."""
        return self.exposures.sample_ratio

    def analyze(self, config: AnalysisConfig, day: int = -1) -> list[Analysis | None]:
        """Analyze every metric as of the end of a day; None for those that cannot be.

        Corrections for multiple testing are made over all of them.

        Raises
        ------
        ValueError
            When the variants are too few or too many, or the baseline is not one of them.
        """
        inputs = self.inputs(day)
        compared = [
            (variants, one.metric.role.goal)
            for one, variants in zip(self.metrics, inputs, strict=True)
            if variants is not None
        ]
        found = iter(analyze_metrics([one for one, _ in compared], config, goals=[goal for _, goal in compared]))
        return [None if variants is None else next(found) for variants in inputs]

    def inputs(self, day: int) -> list[list[MetricVariant] | None]:
        """Return the counts of every metric at the end of a day, which its analysis is a function of."""
        return [self._compared(one.variants(self.scope.variants, day)) for one in self.metrics]

    def _compared(self, variants: list[MetricVariant] | None) -> list[MetricVariant] | None:
        if variants is None:
            return None
        return [one for one in variants if one.key not in self.exposures.excluded]


class ScorecardCounter:
    """Counts the scorecards of one project's experiments."""

    def __init__(self, facts: FactService, queries: MetricQueryBuilder, planner: ExposurePlanner) -> None:
        self._facts = facts
        self._queries = queries
        self._planner = planner

    async def count(self, experiment: Experiment, only: Collection[str] | None = None) -> Scorecard:
        """Count the metrics of an experiment by day (``only`` those with some ids), and its exposures.

        Raises
        ------
        ValidationFailed
            When the experiment has not started.
        """
        exposures, planned = await self._plan(experiment, only)
        exposed, *found = await self._facts.counts_or_refusals([exposures.fact_query, *planned.fact_queries])
        if isinstance(exposed, EventsRemoved):
            raise exposed
        return planned.counted(exposures.answer(exposed), found)

    def adjusted_metrics(self, experiment: Experiment) -> frozenset[str]:
        """Return the ids of the metrics that may be adjusted by what persons did before their exposure."""
        if self._queries.typed_rules(experiment).lookback_days is None:
            return frozenset()
        metrics = metrics_of(experiment)
        return frozenset(one.id for one in metrics if one.typed and one.typed.get("metric_type") in _ADJUSTABLE)

    async def fact_queries(self, experiment: Experiment) -> list[tuple[str, FactQuery[Any]]]:
        """Return the fact queries of ``count`` for a started experiment, each with the id of its metric.

        Those of the breakdowns that metrics define have ids of their own. There are none where it cannot be counted.
        """
        try:
            exposures, planned = await self._plan(experiment, None)
        except ValidationFailed:
            return []
        found = [(EXPOSURES, exposures.fact_query)]
        for one in planned.metrics:
            if one.fact_query is None:
                continue
            found.append((one.metric.id, one.fact_query))
            own = one.metric.breakdown
            if own is not None and own.type == "event":  # others keep no facts of their own
                found.append((f"breakdown of {one.metric.id}", broken_down(own, one.fact_query, exposures)))
        return found

    async def _plan(
        self, experiment: Experiment, only: Collection[str] | None
    ) -> tuple[ExposurePlan, "PlannedScorecard"]:
        exposures = await self._planner.plan(experiment)
        return exposures, await self.plan(experiment, exposures, only)

    async def plan(
        self, experiment: Experiment, exposures: ExposurePlan, only: Collection[str] | None = None
    ) -> "PlannedScorecard":
        """Return how the metrics of an experiment are counted, so that others can count them together with theirs."""
        planner = _MetricPlanner(self._queries, experiment, exposures)
        chosen = [metric for metric in metrics_of(experiment) if only is None or metric.id in only]
        planned = []
        slices = TimeSlices()
        for metric in chosen:
            await slices.pause()  # each takes a millisecond of the event loop
            planned.append(await planner.plan(metric))
        return PlannedScorecard(planned)


@dataclass(frozen=True)
class PlannedScorecard:
    """How the metrics of an experiment are counted by day."""

    metrics: Sequence["PlannedMetric"]

    @property
    def fact_queries(self) -> list[FactQuery[Any]]:
        return [one.fact_query for one in self.metrics if one.fact_query is not None]

    def counted(self, exposures: Exposures, counts: Sequence[Any]) -> Scorecard:
        """Return the scorecard of exposures, and of the counts of ``fact_queries`` as of the same moment."""
        daily_counts = iter(counts)
        metrics = [one.counted(None if one.fact_query is None else next(daily_counts)) for one in self.metrics]
        return Scorecard(exposures, metrics)


@dataclass(frozen=True)
class PlannedMetric:
    """How a metric is counted by day; without a query, ``problem`` says why it is not."""

    metric: ExperimentMetric
    kind: MetricType | None = None
    fact_query: FactQuery[Any] | None = None
    problem: str = ""
    has_covariate: bool = False
    wording: MetricWording | None = None

    def counted(self, answer: DailyCounts | EventsRemoved | None) -> CountedMetric:
        """Return the metric with the counts of its query, or with why there are none."""
        return replace(self._counted(answer), wording=self.wording)

    def _counted(self, answer: DailyCounts | EventsRemoved | None) -> CountedMetric:
        if isinstance(answer, EventsRemoved):
            return CountedMetric(self.metric, None, None, answer.detail)
        if answer is None:
            return CountedMetric(self.metric, None, None, self.problem)
        if isinstance(answer, ValueCounts) and answer.flat[-1]:
            return CountedMetric(self.metric, None, None, _FLAT)
        if isinstance(answer, ValueCounts) and not answer.is_finite:
            return CountedMetric(self.metric, None, None, "The sums are not finite.")
        if self.kind == "ratio" and isinstance(answer, ValueCounts) and answer.has_negative_denominators:
            return CountedMetric(self.metric, None, None, _NEGATIVE)
        return CountedMetric(
            self.metric,
            self.kind,
            answer,
            digest=self.fact_query.digest if self.fact_query else "",
            has_covariate=self.has_covariate,
        )


_FLAT = (
    "Most values are 0 or another same one, so that every value would be cut to it. Set `ignore_zeros`, or choose "
    "percentiles further apart."
)

_NEGATIVE = (
    "The denominators of a variant add up to less than 0, and so the ratio says nothing. Choose a denominator that is "
    "not negative."
)


@dataclass(frozen=True)
class _MetricPlanner:
    """Turns metrics into queries of the facts."""

    queries: MetricQueryBuilder
    experiment: Experiment
    exposures: ExposurePlan

    @property
    def scope(self) -> ExperimentScope:
        return self.exposures.scope

    @property
    def ticks(self) -> Ticks:
        return self.exposures.ticks

    @property
    def describer(self) -> MetricDescriber:
        return MetricDescriber(self.queries, self.experiment, self.scope, self.exposures.query.unit)

    async def plan(self, metric: ExperimentMetric) -> PlannedMetric:
        """Return the query of a metric, or why it has none."""
        try:
            if metric.typed is not None:
                return await self._typed(metric)
            if not metric.filters:
                return PlannedMetric(metric, problem="The metric does not say what to count.")
            if problem := foreign_groups(metric.filters, self.scope):
                return PlannedMetric(metric, problem=problem)
            is_trend = read_insight(metric.filters) == "TRENDS"
            return await (self._trend(metric) if is_trend else self._funnel(metric))
        except ValidationFailed as error:
            return PlannedMetric(metric, problem=error.detail)

    async def _typed(self, metric: ExperimentMetric) -> PlannedMetric:
        query = await self.queries.typed(metric.typed, self.experiment)
        rules = self.queries.typed_rules(self.experiment)
        typed = typed_fact_query(query, self.exposures.query, self.scope, self.ticks, rules)
        return PlannedMetric(
            metric,
            typed.kind,
            typed.fact_query,
            has_covariate=typed.has_covariate,
            wording=self.describer.typed(query),
        )

    async def _funnel(self, metric: ExperimentMetric) -> PlannedMetric:
        query = await self.queries.funnel(metric.filters)
        if not query.steps:
            return PlannedMetric(metric, problem="The funnel has no steps.")
        progress = progress_fact_query(query, self.scope, self.ticks)
        fact_query = attributed(progress, self.exposures.query, self.scope)
        return PlannedMetric(metric, "funnel", fact_query, wording=self.describer.funnel(query, metric.filters))

    async def _trend(self, metric: ExperimentMetric) -> PlannedMetric:
        query = await self.queries.trend(metric.filters)
        if query is None:
            return PlannedMetric(metric, problem="The trend has no event or action.")
        math = person_level_math(query, self.scope)
        if math is None:
            units = capitalized(self.exposures.query.unit)
            problem = f"{units} cannot be compared by {query.math}: use total, dau, sum or avg."
            return PlannedMetric(metric, problem=problem)
        fact_query = sample_fact_query(query, math, self.exposures.query, self.scope, self.ticks)
        wording = self.describer.trend(query, math, metric.filters)
        return PlannedMetric(metric, metric_type_of(math), fact_query, wording=wording)


def broken_down(
    breakdown: Breakdown, metric: FactQuery[Any], exposures: ExposurePlan, person_keys: PersonKeys | None = None
) -> FactQuery[Any]:
    """Return the fact query of a breakdown; see ``breakdown_fact_query``."""
    beginnings = exposures.phase_beginnings
    return breakdown_fact_query(breakdown, metric, exposures.query, exposures.scope, beginnings, person_keys)
