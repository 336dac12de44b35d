"""The analysis of an experiment, its development and the decision: counts -> statistics -> bodies."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from app.analysis.conclusion import conclude
from app.analysis.schemas import AnalysisRead, StatsConfig
from app.analysis.service import read_config, write_analysis, write_sample_ratio
from app.common.errors import ValidationFailed
from app.db.models import Experiment
from app.experiments.exposures.schemas import DateRangeRead
from app.experiments.scorecard.counting import PRIMARY, CountedMetric, Scorecard, ScorecardCounter, metrics_of
from app.experiments.scorecard.decision import DecidedMetric, Decision, decide, measure_progress
from app.experiments.scorecard.decision_criteria import Criteria
from app.experiments.scorecard.schemas import (
    DecisionCriteria,
    DecisionRead,
    MetricAnalysisRead,
    MetricStatus,
    ProgressRead,
    ReasonRead,
    ScorecardRead,
    TimeseriesRead,
)
from app.experiments.scorecard.steps import StepInterval, Steps, choose_steps
from app.experiments.sharing import SharedCounts
from app.metrics.queries.scope import ExperimentScope
from app.statistics.results import Analysis, AnalysisConfig

_SECONDS_OF_A_DAY = 86_400
_OVERVIEW_POINTS = 120


@dataclass(frozen=True)
class Overview:
    """What an experiment's data say, as of one moment."""

    scorecard: ScorecardRead
    timeseries: TimeseriesRead
    decision: DecisionRead


class ScorecardService:
    """Analyzes one project's experiments."""

    def __init__(self, counter: ScorecardCounter, shared: SharedCounts) -> None:
        self._counter = counter
        self._shared = shared

    async def analysis(self, experiment: Experiment) -> ScorecardRead:
        """Analyze all metrics as of now.

        Raises
        ------
        ValidationFailed
            When the experiment has not started, or its ``stats_config`` does not fit the flag's variants.
        """
        return await self._shared.result("analysis", experiment, lambda: self._analysis(experiment))

    async def _analysis(self, experiment: Experiment) -> ScorecardRead:
        return await analyze_experiment(experiment, await self._counter.count(experiment))

    async def timeseries(
        self, experiment: Experiment, metric_id: str, interval: StepInterval | None = None
    ) -> TimeseriesRead:
        """Analyze a metric as of the end of every step so far; see ``choose_steps``.

        Raises
        ------
        ValidationFailed
            As ``analysis``, and when there is no such metric, or the interval has too many steps.
        """
        if metric_id not in {metric.id for metric in metrics_of(experiment)}:
            raise ValidationFailed(f"There is no metric {metric_id[:100]!r}", attr="metric")
        return await self._shared.result(
            f"timeseries {metric_id} {interval}",
            experiment,
            lambda: self._timeseries(experiment, metric_id, interval),
        )

    async def _timeseries(
        self, experiment: Experiment, metric_id: str, interval: StepInterval | None
    ) -> TimeseriesRead:
        config = _config(experiment)
        # Without a correction a metric stands alone, and the others need not be counted.
        only = {metric_id} if config.correction == "none" else None
        scorecard = await self._counter.count(experiment, only=only)
        return await _write_timeseries(scorecard, config, metric_id, choose_steps(scorecard.ticks, interval))

    async def decision(self, experiment: Experiment) -> DecisionRead:
        """Return the recommendation for an experiment.

        Raises
        ------
        ValidationFailed
            As ``analysis``.
        """
        return await self._shared.result("decision", experiment, lambda: self._decision(experiment))

    async def _decision(self, experiment: Experiment) -> DecisionRead:
        scorecard = await self._counter.count(experiment)
        return decide_on(scorecard, await _analyze(scorecard, _config(experiment)), _criteria(experiment))


async def analyze_experiment(experiment: Experiment, scorecard: Scorecard) -> ScorecardRead:
    """Return the analysis of all metrics that were counted.

    Raises
    ------
    ValidationFailed
        When the experiment's ``stats_config`` does not fit the flag's variants.
    """
    return await _write_scorecard(scorecard, await _analyze(scorecard, _config(experiment)))


async def estimate_days_left(experiment: Experiment, scorecard: Scorecard) -> int | None:
    """Return how many days the target metric still needs; None when that cannot be estimated.

    Raises
    ------
    ValidationFailed
        As ``analyze_experiment``.
    """
    target = replace(scorecard, metrics=[one for one in scorecard.metrics if one.metric.id == PRIMARY])
    [primary] = _decided(target, await _analyze(target, _config(experiment)))
    return measure_progress(primary, _criteria(experiment), _runtime(scorecard.scope)).days_left


async def summarize_experiment(experiment: Experiment, scorecard: Scorecard) -> Overview:
    """Return the analysis, the target metric by day and the decision, all from one count.

    In a long experiment only some of the points of ``timeseries`` are analyzed: a chart cannot show more.

    Raises
    ------
    ValidationFailed
        As ``analyze_experiment``.
    """
    config = _config(experiment)
    analyses = await _analyze(scorecard, config)
    steps = choose_steps(scorecard.ticks).thinned(_OVERVIEW_POINTS)
    return Overview(
        scorecard=await _write_scorecard(scorecard, analyses),
        timeseries=await _write_timeseries(scorecard, config, PRIMARY, steps),
        decision=decide_on(scorecard, analyses, _criteria(experiment)),
    )


def decide_on(scorecard: Scorecard, analyses: list[Analysis | None], criteria: Criteria) -> DecisionRead:
    """Return the recommendation for an experiment that was analyzed."""
    metrics, scope = _decided(scorecard, analyses), scorecard.scope
    decision = decide(
        next(metric for metric in metrics if metric.id == PRIMARY),
        [metric for metric in metrics if metric.role.role == "guardrail"],
        scorecard.sample_ratio,
        criteria,
        _runtime(scope),
        is_over=scope.end is not None and scope.end <= scope.now,
    )
    return DecisionRead(
        recommendation=decision.recommendation,
        variant_key=decision.variant,
        summary=_summarize(decision, metrics[0]),
        reasons=[ReasonRead.model_validate(reason) for reason in decision.reasons],
        progress=ProgressRead(
            precision=decision.progress.precision,
            exposed=decision.progress.exposed,
            runtime_days=decision.progress.runtime,
            estimated_days_left=decision.progress.days_left,
        ),
    )


def _decided(scorecard: Scorecard, analyses: Sequence[Analysis | None]) -> list[DecidedMetric]:
    return [
        DecidedMetric(one.metric.id, one.metric.name, one.metric.role, analysis, one.problem)
        for one, analysis in zip(scorecard.metrics, analyses, strict=True)
    ]


def _runtime(scope: ExperimentScope) -> float:
    """Return the days since the start, up to the end."""
    return max(0.0, (min(scope.last, scope.now) - scope.start).total_seconds() / _SECONDS_OF_A_DAY)


async def _write_scorecard(scorecard: Scorecard, analyses: list[Analysis | None]) -> ScorecardRead:
    ratio, scope, exposed = scorecard.sample_ratio, scorecard.scope, scorecard.exposures.exposed
    metrics = []
    for counted, analysis in zip(scorecard.metrics, analyses, strict=True):
        await asyncio.sleep(0)  # each takes up to a millisecond of the event loop
        metrics.append(_show(counted, analysis))
    return ScorecardRead(
        date_range=DateRangeRead.of(scope.start, scope.last, scope.timezone),
        sample_ratio_mismatch=write_sample_ratio(ratio) if ratio and any(exposed.values()) else None,
        metrics=metrics,
    )


async def _write_timeseries(
    scorecard: Scorecard, config: AnalysisConfig, metric_id: str, steps: Steps
) -> TimeseriesRead:
    """Return the analyses as of the end of each step."""
    index = next(index for index, one in enumerate(scorecard.metrics) if one.metric.id == metric_id)
    counted = scorecard.metrics[index]
    analyses = await _analyze_days(scorecard, config, index, steps.ends)
    names = scorecard.ticks.days()
    written: dict[str, AnalysisRead] = {}
    for day, analysis in zip(steps.ends, analyses, strict=True):
        await asyncio.sleep(0)  # each takes up to a millisecond of the event loop
        if analysis is not None and counted.kind is not None:
            written[names[day]] = write_analysis(counted.kind, analysis, lowest_leads=counted.metric.role.lowest_leads)
    return TimeseriesRead(
        metric_id=metric_id,
        status=_status(analyses[-1]),
        detail=counted.problem,
        interval=steps.interval,
        fingerprint=_fingerprint(counted, config),
        timeseries=written,
        computed_at=scorecard.scope.now.isoformat(timespec="seconds"),
    )


async def _analyze(scorecard: Scorecard, config: AnalysisConfig) -> list[Analysis | None]:
    return await _in_thread(lambda: scorecard.analyze(config))


async def _analyze_days(
    scorecard: Scorecard, config: AnalysisConfig, index: int, days: Sequence[int]
) -> list[Analysis | None]:
    """Return the analyses of one metric at the end of each of some days."""
    return await _in_thread(lambda: [scorecard.analyze(config, day)[index] for day in days])


async def _in_thread(analyze: Callable[[], list[Analysis | None]]) -> list[Analysis | None]:
    try:
        return await asyncio.to_thread(analyze)
    except ValueError as error:
        raise ValidationFailed(str(error)) from error


def _config(experiment: Experiment) -> AnalysisConfig:
    return read_config(StatsConfig.model_validate(experiment.stats_config or {}))


def _criteria(experiment: Experiment) -> Criteria:
    criteria = DecisionCriteria.model_validate(experiment.decision_criteria or {})
    return Criteria(criteria.preset, criteria.target_mde, criteria.minimum_runtime_days)


def _show(counted: CountedMetric, analysis: Analysis | None) -> MetricAnalysisRead:
    shown: AnalysisRead | None = None
    if analysis is not None and counted.kind is not None:
        shown = write_analysis(counted.kind, analysis, lowest_leads=counted.metric.role.lowest_leads)
    return MetricAnalysisRead(
        metric_id=counted.metric.id,
        name=counted.metric.name,
        role=counted.metric.role.role,
        goal=counted.metric.role.goal,
        status=_status(analysis),
        detail=counted.problem,
        analysis=shown,
    )


def _status(analysis: Analysis | None) -> MetricStatus:
    if analysis is None:
        return "unavailable"
    has_data = sum(one.sample.number_of_samples > 0 for one in analysis.variants) > 1
    return "ok" if has_data else "insufficient_data"


_ADVICE = {
    "ship": "Ship {variant}.",
    "rollback": "Go back to {variant}.",
    "keep_running": "Keep it running{days}.",
    "review": "Have a person look at it before anything is shipped.",
    "blocked": "Do not decide on these figures.",
}


def _summarize(decision: Decision, primary: DecidedMetric) -> str:
    """Return the result, its certainty and the recommendation in words."""
    left = decision.progress.days_left
    days = "" if left is None or left == 0 else f", for about {left} more day{'s' if left > 1 else ''}"
    advice = _ADVICE[decision.recommendation].format(variant=decision.variant, days=days)
    if decision.recommendation == "blocked" or primary.analysis is None:
        return " ".join([*(reason.detail for reason in decision.reasons), advice])
    return f"{conclude(primary.analysis, lowest_leads=primary.role.lowest_leads)} {advice}"


def _fingerprint(counted: CountedMetric, config: AnalysisConfig) -> str:
    document = [counted.digest, repr(config), counted.metric.role.goal]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
