"""Counts everything that an experiment's analysis rests on: metrics -> questions -> facts -> counts by day."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.common.errors import ValidationFailed
from app.db.models import Experiment
from app.experiments.exposures.counting import ask_exposures
from app.experiments.exposures.traffic_split import Split, SplitReader
from app.experiments.scorecard.decision_criteria import MetricRole, read_goal, read_role
from app.experiments.scorecard.metrics import MetricType, metric_type_of, sample_math, sample_metric, variants_of
from app.metrics.aggregation.calendar import Interval, Ticks
from app.metrics.aggregation.exposures import ExposureCounts
from app.metrics.counting.metric import Metric
from app.metrics.counting.service import EventsRemoved, FactService
from app.metrics.facts.event_sets import Watch
from app.metrics.queries.entities import Filters
from app.metrics.queries.funnel import progress_metric
from app.metrics.queries.parsing import read_insight
from app.metrics.queries.scope import ExperimentScope
from app.metrics.queries.service import ExperimentQuestions
from app.statistics.analysis import analyse_together
from app.statistics.frequentist.sample_ratio import SampleRatio
from app.statistics.results import Analysis, AnalysisConfig
from app.statistics.variants import MetricVariant

PRIMARY = "primary"
_INTERVAL: Interval = "day"


@dataclass(frozen=True)
class ExperimentMetric:
    """A metric as an experiment holds it. ``id`` is ``primary``, or ``secondary-`` and its place from 0."""

    id: str
    name: str
    role: MetricRole
    filters: Filters


@dataclass(frozen=True)
class CountedMetric:
    """A metric with its counts at the end of each day; without any, ``problem`` says why it cannot be analysed.

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
    digest: str = ""  # of the question that was counted

    def variants(self, keys: Sequence[str], day: int) -> list[MetricVariant] | None:
        """Return the counts of each variant at the end of a day, if there are any that can be analysed."""
        if self.counts is None or self.kind is None:
            return None
        try:
            return variants_of(self.counts[:, :, day], self.kind, keys)
        except ValueError:  # only where numbers differ so much in size that sums have lost their digits
            return None


@dataclass(frozen=True)
class Scorecard:
    """Everything an experiment's analysis rests on, counted as of one moment."""

    scope: ExperimentScope
    ticks: Ticks
    metrics: Sequence[CountedMetric]
    exposures: ExposureCounts
    split: Split

    @property
    def exposed(self) -> dict[str, int]:
        """Persons of each variant who were shown no other."""
        return dict(zip(self.scope.variants, self.exposures.exposed.tolist(), strict=True))

    @property
    def sample_ratio(self) -> SampleRatio | None:
        """The test of who was exposed against the flag's split; None where it says nothing."""
        return self.split.test(self.exposed)

    def analyse(self, config: AnalysisConfig, day: int = -1) -> list[Analysis | None]:
        """Analyse every metric as of the end of a day; None for those that cannot be.

        Corrections for multiple testing are made over all of them.

        Raises
        ------
        ValueError
            When the variants are too few or too many, or the baseline is none of them.
        """
        inputs = [one.variants(self.scope.variants, day) for one in self.metrics]
        found = iter(analyse_together([variants for variants in inputs if variants is not None], config))
        return [None if variants is None else next(found) for variants in inputs]


class ScorecardCounter:
    """Counts the scorecards of one project's experiments."""

    def __init__(self, facts: FactService, questions: ExperimentQuestions, splits: SplitReader) -> None:
        self._facts = facts
        self._questions = questions
        self._splits = splits

    async def count(self, experiment: Experiment, only: Collection[str] | None = None) -> Scorecard:
        """Count the metrics of an experiment by day (``only`` those of some ids), and who was exposed.

        Raises
        ------
        ValidationFailed
            When the experiment has not started.
        """
        asked = await self._ask(experiment, only)
        exposed, *found = await self._facts.counts_or_refusals([asked.ledger, *asked.questions])
        if isinstance(exposed, EventsRemoved):
            raise exposed
        growths = iter(found)
        counted = [one.counted(None if one.question is None else next(growths)) for one in asked.metrics]
        return Scorecard(asked.scope, asked.ticks, counted, exposed, await self._splits.split(experiment))

    async def questions(self, experiment: Experiment) -> list[Metric[Any]]:
        """Return everything that ``count`` asks the facts about a started experiment; nothing where it cannot."""
        try:
            asked = await self._ask(experiment, None)
        except ValidationFailed:
            return []
        return [asked.ledger, *asked.questions]

    async def _ask(self, experiment: Experiment, only: Collection[str] | None) -> "_AskedExperiment":
        scope = self._questions.scope(experiment)
        exposures = await ask_exposures(self._questions, experiment, scope, _INTERVAL)
        ask = _Asking(self._questions, exposures.query.watches[0], scope, exposures.ticks)
        chosen = [metric for metric in metrics_of(experiment) if only is None or metric.id in only]
        return _AskedExperiment(
            scope,
            exposures.ticks,
            exposures.metric,
            [await ask.question(metric) for metric in chosen],
        )


@dataclass(frozen=True)
class _Asked:
    metric: ExperimentMetric
    kind: MetricType | None = None
    question: Metric[Any] | None = None
    problem: str = ""

    def counted(self, answer: Any | EventsRemoved | None) -> CountedMetric:  # noqa: ANN401  # what the question counts
        if isinstance(answer, EventsRemoved):
            return CountedMetric(self.metric, None, None, answer.detail)
        if answer is None:
            return CountedMetric(self.metric, None, None, self.problem)
        counts = answer.cumulative
        if not np.isfinite(counts.astype(np.float64)).all():
            return CountedMetric(self.metric, None, None, "The sums are beyond all numbers.")
        return CountedMetric(self.metric, self.kind, counts, digest=self.question.digest if self.question else "")


@dataclass(frozen=True)
class _AskedExperiment:
    scope: ExperimentScope
    ticks: Ticks
    ledger: Metric[Any]
    metrics: Sequence[_Asked]

    @property
    def questions(self) -> list[Metric[Any]]:
        return [one.question for one in self.metrics if one.question is not None]


@dataclass(frozen=True)
class _Asking:
    """Turns metrics into questions to the facts."""

    questions: ExperimentQuestions
    exposures: Watch
    scope: ExperimentScope
    ticks: Ticks

    async def question(self, metric: ExperimentMetric) -> _Asked:
        """Return the question of a metric, or why it has none."""
        if not metric.filters:
            return _Asked(metric, problem="The metric says nothing about what to count.")
        try:
            insight = read_insight(metric.filters)
            if insight == "TRENDS":
                return await self._trend(metric)
            if insight == "FUNNELS" or metric.id == PRIMARY:
                return await self._funnel(metric)
        except ValidationFailed as error:
            return _Asked(metric, problem=error.detail)
        return _Asked(metric, problem="Only funnels and trends can be analysed.")

    async def _funnel(self, metric: ExperimentMetric) -> _Asked:
        query = await self.questions.funnel(metric.filters)
        if not query.steps:
            return _Asked(metric, problem="The funnel has no steps.")
        return _Asked(metric, "funnel", progress_metric(query, self.scope, self.ticks, _INTERVAL))

    async def _trend(self, metric: ExperimentMetric) -> _Asked:
        query = await self.questions.trend(metric.filters)
        if query is None:
            return _Asked(metric, problem="The trend has no event or action that exists.")
        math = sample_math(query)
        if math is None:
            problem = f"Persons cannot be compared by {query.math}: use total, dau, sum or avg."
            return _Asked(metric, problem=problem)
        question = sample_metric(query, math, self.exposures, self.scope, self.ticks, _INTERVAL)
        return _Asked(metric, metric_type_of(math), question)


def metrics_of(experiment: Experiment) -> list[ExperimentMetric]:
    """Return the metrics of an experiment, the target metric first."""
    goal = read_goal(experiment.decision_criteria or {})
    primary = ExperimentMetric(PRIMARY, experiment.name, MetricRole("primary", goal), experiment.filters or {})
    listed = experiment.secondary_metrics if isinstance(experiment.secondary_metrics, list) else []
    secondary = []
    for place, metric in enumerate(listed):
        body = metric if isinstance(metric, dict) else {}
        name, filters = body.get("name"), body.get("filters")
        shown = name if isinstance(name, str) and name else f"Secondary metric {place + 1}"
        secondary.append(
            ExperimentMetric(f"secondary-{place}", shown, read_role(body), filters if isinstance(filters, dict) else {})
        )
    return [primary, *secondary]
