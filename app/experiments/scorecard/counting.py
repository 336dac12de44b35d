"""Counts what an experiment's analysis is based on: metrics -> queries -> facts -> counts by day."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.common.errors import ValidationFailed
from app.common.nouns import capitalized
from app.db.models import Experiment
from app.experiments.exposures.counting import ExposurePlan, Exposures, plan_exposures
from app.experiments.scorecard.decision_criteria import MetricRole, read_goal, read_role
from app.experiments.scorecard.metrics import (
    MetricType,
    metric_type_of,
    person_level_math,
    sample_fact_query,
    variants_of,
)
from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.samples import SampleCounts
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import EventsRemoved, FactService
from app.metrics.facts.event_sets import EventSet
from app.metrics.queries.entities import Filters
from app.metrics.queries.funnel import progress_fact_query
from app.metrics.queries.parsing import foreign_groups, read_insight
from app.metrics.queries.scope import ExperimentScope
from app.metrics.queries.service import MetricQueryBuilder
from app.statistics.analysis import analyze_metrics
from app.statistics.frequentist.sample_ratio import SampleRatio
from app.statistics.results import Analysis, AnalysisConfig
from app.statistics.variants import MetricVariant

PRIMARY = "primary"
EXPOSURES = "exposures"
# Without their counts an experiment has neither results nor health.
NEEDED_METRICS = frozenset({PRIMARY, EXPOSURES})


@dataclass(frozen=True)
class ExperimentMetric:
    """A metric of an experiment. ``id`` is ``primary``, or ``secondary-`` and its index from 0."""

    id: str
    name: str
    role: MetricRole
    filters: Filters


@dataclass(frozen=True)
class CountedMetric:
    """A metric with its counts at the end of each day; without counts, ``problem`` says why.

    Attributes
    ----------
    kind : {"funnel", "mean", "ratio"}
    counts : number[m, k, b]
        See ``variants_of``.
    """

    metric: ExperimentMetric
    kind: MetricType | None
    counts: NDArray[np.generic] | None
    problem: str = ""
    digest: str = ""  # of the query that was counted

    def variants(self, keys: Sequence[str], day: int) -> list[MetricVariant] | None:
        """Return the counts of each variant at the end of a day, if there are any that can be analyzed."""
        if self.counts is None or self.kind is None:
            return None
        try:
            return variants_of(self.counts[:, :, day], self.kind, keys)
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
        """The test of the exposed persons against the flag's split; None where the split says nothing about them."""
        return self.exposures.split.test(self.exposures.exposed)

    def analyze(self, config: AnalysisConfig, day: int = -1) -> list[Analysis | None]:
        """Analyze every metric as of the end of a day; None for those that cannot be.

        Corrections for multiple testing are made over all of them.

        Raises
        ------
        ValueError
            When the variants are too few or too many, or the baseline is not one of them.
        """
        inputs = [one.variants(self.scope.variants, day) for one in self.metrics]
        found = iter(analyze_metrics([variants for variants in inputs if variants is not None], config))
        return [None if variants is None else next(found) for variants in inputs]


class ScorecardCounter:
    """Counts the scorecards of one project's experiments."""

    def __init__(self, facts: FactService, queries: MetricQueryBuilder) -> None:
        self._facts = facts
        self._queries = queries

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

    async def fact_queries(self, experiment: Experiment) -> list[tuple[str, FactQuery[Any]]]:
        """Return the fact queries of ``count`` for a started experiment, each with the id of its metric.

        There are none where it cannot be counted.
        """
        try:
            exposures, planned = await self._plan(experiment, None)
        except ValidationFailed:
            return []
        counted = [(one.metric.id, one.fact_query) for one in planned.metrics if one.fact_query is not None]
        return [(EXPOSURES, exposures.fact_query), *counted]

    async def _plan(
        self, experiment: Experiment, only: Collection[str] | None
    ) -> tuple[ExposurePlan, "PlannedScorecard"]:
        exposures = await plan_exposures(self._queries, experiment, self._queries.scope(experiment))
        return exposures, await self.plan(experiment, exposures, only)

    async def plan(
        self, experiment: Experiment, exposures: ExposurePlan, only: Collection[str] | None = None
    ) -> "PlannedScorecard":
        """Return how the metrics of an experiment are counted, so that others can count them together with theirs."""
        query = exposures.query
        planner = _MetricPlanner(self._queries, query.event_sets[0], exposures.scope, exposures.ticks, query.unit)
        chosen = [metric for metric in metrics_of(experiment) if only is None or metric.id in only]
        planned = []
        for metric in chosen:
            await asyncio.sleep(0)  # each takes a millisecond of the event loop
            planned.append(await planner.plan(metric))
        return PlannedScorecard(planned)


@dataclass(frozen=True)
class PlannedScorecard:
    """How the metrics of an experiment are counted by day."""

    metrics: Sequence["_PlannedMetric"]

    @property
    def fact_queries(self) -> list[FactQuery[Any]]:
        return [one.fact_query for one in self.metrics if one.fact_query is not None]

    def counted(self, exposures: Exposures, counts: Sequence[Any]) -> Scorecard:
        """Return the scorecard of exposures, and of the counts of ``fact_queries`` as of the same moment."""
        daily_counts = iter(counts)
        metrics = [one.counted(None if one.fact_query is None else next(daily_counts)) for one in self.metrics]
        return Scorecard(exposures, metrics)


@dataclass(frozen=True)
class _PlannedMetric:
    metric: ExperimentMetric
    kind: MetricType | None = None
    fact_query: FactQuery[Any] | None = None
    problem: str = ""

    def counted(self, answer: Any | EventsRemoved | None) -> CountedMetric:  # noqa: ANN401  # what the query counts
        if isinstance(answer, EventsRemoved):
            return CountedMetric(self.metric, None, None, answer.detail)
        if answer is None:
            return CountedMetric(self.metric, None, None, self.problem)
        if isinstance(answer, SampleCounts) and not answer.is_finite:
            return CountedMetric(self.metric, None, None, "The sums are not finite.")
        counts = answer.cumulative
        return CountedMetric(self.metric, self.kind, counts, digest=self.fact_query.digest if self.fact_query else "")


@dataclass(frozen=True)
class _MetricPlanner:
    """Turns metrics into queries of the facts."""

    queries: MetricQueryBuilder
    exposures: EventSet
    scope: ExperimentScope
    ticks: Ticks
    unit: str

    async def plan(self, metric: ExperimentMetric) -> _PlannedMetric:
        """Return the query of a metric, or why it has none."""
        if not metric.filters:
            return _PlannedMetric(metric, problem="The metric does not say what to count.")
        try:
            if problem := foreign_groups(metric.filters, self.scope):
                return _PlannedMetric(metric, problem=problem)
            is_trend = read_insight(metric.filters) == "TRENDS"
            return await (self._trend(metric) if is_trend else self._funnel(metric))
        except ValidationFailed as error:
            return _PlannedMetric(metric, problem=error.detail)

    async def _funnel(self, metric: ExperimentMetric) -> _PlannedMetric:
        query = await self.queries.funnel(metric.filters)
        if not query.steps:
            return _PlannedMetric(metric, problem="The funnel has no steps.")
        return _PlannedMetric(metric, "funnel", progress_fact_query(query, self.scope, self.ticks))

    async def _trend(self, metric: ExperimentMetric) -> _PlannedMetric:
        query = await self.queries.trend(metric.filters)
        if query is None:
            return _PlannedMetric(metric, problem="The trend has no event or action.")
        math = person_level_math(query, self.scope)
        if math is None:
            problem = f"{capitalized(self.unit)} cannot be compared by {query.math}: use total, dau, sum or avg."
            return _PlannedMetric(metric, problem=problem)
        fact_query = sample_fact_query(query, math, self.exposures, self.scope, self.ticks)
        return _PlannedMetric(metric, metric_type_of(math), fact_query)


def metrics_of(experiment: Experiment) -> list[ExperimentMetric]:
    """Return the metrics of an experiment, the target metric first."""
    goal = read_goal(experiment.decision_criteria or {})
    primary = ExperimentMetric(PRIMARY, experiment.name, MetricRole("primary", goal), experiment.filters or {})
    listed = experiment.secondary_metrics if isinstance(experiment.secondary_metrics, list) else []
    secondary = []
    for index, metric in enumerate(listed):
        body = metric if isinstance(metric, dict) else {}
        name, filters = body.get("name"), body.get("filters")
        shown = name if isinstance(name, str) and name else f"Secondary metric {index + 1}"
        secondary.append(
            ExperimentMetric(f"secondary-{index}", shown, read_role(body), filters if isinstance(filters, dict) else {})
        )
    return [primary, *secondary]
