"""The analysis of an experiment, its development and the decision: counts -> statistics -> bodies."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from app.analysis.schemas import AnalysisRead
from app.analysis.service import read_config, write_analysis, write_sample_ratio
from app.common.errors import ValidationFailed
from app.common.time_slices import TimeSlices
from app.db.models import Experiment, utc_now
from app.experiments.compared_variants import compared_variants
from app.experiments.exposures.lost_variants import describe_lost_variants, require_variants
from app.experiments.exposures.schemas import DateRangeRead
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.experiments.scorecard.counting import CountedMetric, Scorecard, ScorecardCounter
from app.experiments.scorecard.decision import Decision, decide
from app.experiments.scorecard.decision_criteria import Criteria
from app.experiments.scorecard.decision_texts import cautious_config, summarize, write_rule
from app.experiments.scorecard.experiment_metrics import PRIMARY, require_metric
from app.experiments.scorecard.metric_details import details_of
from app.experiments.scorecard.progress import Progress, measure_progress
from app.experiments.scorecard.schemas import (
    DecisionCriteria,
    DecisionRead,
    ExperimentStatsConfig,
    MetricAnalysisRead,
    MetricStatus,
    ProgressRead,
    ReasonRead,
    ScorecardRead,
    TimeseriesRead,
)
from app.experiments.scorecard.standings import DecidedMetric, compare_variants
from app.experiments.scorecard.states import situation_of
from app.experiments.scorecard.steps import StepInterval, Steps, choose_steps
from app.experiments.sharing import SharedCounts
from app.flags.filters import variant_keys
from app.metrics.queries.scope import ExperimentScope
from app.statistics.frequentist.sample_ratio import SampleRatio
from app.statistics.results import Analysis, AnalysisConfig

# Counts the scorecard of an experiment, and the verdict of 2022 on its target metric: None without one.
CountWithResults: TypeAlias = Callable[
    [Experiment], Awaitable[tuple[Scorecard, FunnelResultsRead | TrendResultsRead | None]]
]

_SECONDS_OF_A_DAY = 86_400
_OVERVIEW_POINTS = 120


@dataclass(frozen=True)
class Overview:
    """What an experiment's data say, as of one moment."""

    scorecard: ScorecardRead
    timeseries: TimeseriesRead
    decision: DecisionRead


@dataclass(frozen=True)
class BiasedMetric:
    """A metric of which variants differed before the exposure, with the p-value of each of them."""

    id: str
    name: str
    p_values: Mapping[str, float]


class ScorecardService:
    """Analyzes one project's experiments."""

    def __init__(self, counter: ScorecardCounter, count_with_results: CountWithResults, shared: SharedCounts) -> None:
        self._counter = counter
        self._count_with_results = count_with_results
        self._shared = shared

    async def analysis(self, experiment: Experiment) -> ScorecardRead:
        """Analyze all metrics as of now.

        Raises
        ------
        ValidationFailed
            When the experiment has not started, or its ``stats_config`` does not fit the flag's variants.
        """
        return await self._shared.kept_result("analysis", experiment, lambda: self._analysis(experiment))

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
        metric_id = require_metric(experiment, metric_id).id
        return await self._shared.kept_result(
            f"timeseries {metric_id} {interval}",
            experiment,
            lambda: self._timeseries(experiment, metric_id, interval),
        )

    async def _timeseries(
        self, experiment: Experiment, metric_id: str, interval: StepInterval | None
    ) -> TimeseriesRead:
        config = _config(experiment)
        # Without a correction a metric stands alone, and the others need not be counted.
        only = {metric_id} if config.correction in {None, "none"} else None
        scorecard = await self._counter.count(experiment, only=only)
        return await _write_timeseries(scorecard, config, metric_id, choose_steps(scorecard.ticks, interval))

    async def decision(self, experiment: Experiment) -> DecisionRead:
        """Return the recommendation for an experiment, also for one that has not started.

        Raises
        ------
        ValidationFailed
            When its ``stats_config`` does not fit the flag's variants.
        """
        ahead = decide_ahead(experiment)
        if ahead is not None:
            return ahead
        return await self._shared.kept_result("decision", experiment, lambda: self._decision(experiment))

    async def _decision(self, experiment: Experiment) -> DecisionRead:
        scorecard, results = await self._count_with_results(experiment)
        return await decide_on(experiment, scorecard, await _analyze(scorecard, _config(experiment)), results)


async def analyze_experiment(experiment: Experiment, scorecard: Scorecard) -> ScorecardRead:
    """Return the analysis of all metrics that were counted.

    Raises
    ------
    ValidationFailed
        When the experiment's ``stats_config`` does not fit the flag's variants.
    """
    return await _write_scorecard(scorecard, await _analyze(scorecard, _config(experiment)))


async def estimate_progress(experiment: Experiment, scorecard: Scorecard) -> Progress | None:
    """Return how precisely the target metric is known, and how many days it still needs; None once it is decided.

    Raises
    ------
    ValidationFailed
        As ``analyze_experiment``.
    """
    target = replace(scorecard, metrics=[one for one in scorecard.metrics if one.metric.id == PRIMARY])
    [primary] = _decided(target, await _analyze(target, _config(experiment)))
    standings = compare_variants(primary, [])
    if any(one.is_better for one in standings) or (standings and all(one.is_worse for one in standings)):
        return None
    return measure_progress(primary, _criteria(experiment), _runtime(scorecard.scope))


async def find_bias(experiment: Experiment, scorecard: Scorecard) -> list[BiasedMetric]:
    """Return the metrics in which variants differed from the baseline before the exposure.

    The correction is over all metrics of the scorecard that are adjusted, and over their variants.

    Raises
    ------
    ValidationFailed
        As ``analyze_experiment``.
    """
    tested = replace(scorecard, metrics=[one for one in scorecard.metrics if one.has_covariate])
    found = []
    for counted, analysis in zip(tested.metrics, await _analyze(tested, _config(experiment)), strict=True):
        biased = [one for one in analysis.variants if "pre-exposure-bias" in one.failures] if analysis else []
        p_values = {one.sample.key: one.covariate_p_value for one in biased if one.covariate_p_value is not None}
        if p_values:
            found.append(BiasedMetric(counted.metric.id, counted.metric.name, p_values))
    return found


async def summarize_experiment(
    experiment: Experiment, scorecard: Scorecard, results: FunnelResultsRead | TrendResultsRead | None
) -> Overview:
    """Return the analysis, the target metric by day and the decision, all from one count; see ``decide_on``.

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
        decision=await decide_on(experiment, scorecard, analyses, results),
    )


async def decide_on(
    experiment: Experiment,
    scorecard: Scorecard,
    analyses: list[Analysis | None],
    results: FunnelResultsRead | TrendResultsRead | None,
) -> DecisionRead:
    """Return the recommendation for an experiment that was analyzed.

    ``results`` are the verdict of 2022, None without one: where the decision differs from it, its summary says why.
    """
    config = _config(experiment)
    cautious = cautious_config(config, len(scorecard.exposures.compared) - 1)
    metrics = _decided(scorecard, analyses, None if cautious is config else await _analyze(scorecard, cautious))
    unit = scorecard.exposures.query.unit
    decision = decide(
        metrics[0],
        [metric for metric in metrics if metric.role.role == "guardrail"],
        scorecard.sample_ratio,
        _criteria(experiment),
        replace(situation_of(experiment, scorecard.scope.now), unit=unit),
    )
    return _write_decision(
        experiment,
        decision,
        summarize(decision, scorecard.metrics[0], analyses[0], results, unit, scorecard.sample_ratio),
    )


def decide_ahead(experiment: Experiment) -> DecisionRead | None:
    """Return the recommendation for an experiment that has not started; None for others."""
    situation = situation_of(experiment, utc_now())
    if situation.phase not in {"draft", "scheduled"}:
        return None
    decision = decide(None, [], None, _criteria(experiment), situation)
    return _write_decision(experiment, decision, decision.advice)


def _write_decision(experiment: Experiment, decision: Decision, summary: str) -> DecisionRead:
    compared = compared_variants(variant_keys(experiment.feature_flag.filters), experiment.stats_config)
    return DecisionRead(
        state=decision.state,
        evidence=decision.evidence,
        recommendation=decision.recommendation,
        variant_key=decision.variant,
        title=decision.title,
        summary=summary,
        rule=write_rule(_config(experiment), len(compared) - 1),
        reasons=[ReasonRead.model_validate(reason) for reason in decision.reasons],
        progress=ProgressRead(
            precision=decision.progress.precision,
            exposed=decision.progress.exposed,
            runtime_days=decision.progress.runtime,
            estimated_days_left=decision.progress.days_left,
        ),
    )


def _decided(
    scorecard: Scorecard, analyses: Sequence[Analysis | None], cautious: Sequence[Analysis | None] | None = None
) -> list[DecidedMetric]:
    exposed = sum(scorecard.exposures.compared_exposed.values())
    return [
        DecidedMetric(
            one.metric.id,
            one.metric.name,
            one.metric.role,
            analysis,
            one.problem,
            exposed if one.metric.typed is not None else 0,
            careful,
        )
        for one, analysis, careful in zip(scorecard.metrics, analyses, cautious or analyses, strict=True)
    ]


def _runtime(scope: ExperimentScope) -> float:
    """Return the days since the start, up to the end."""
    return max(0.0, (min(scope.last, scope.now) - scope.start).total_seconds() / _SECONDS_OF_A_DAY)


async def _write_scorecard(scorecard: Scorecard, analyses: list[Analysis | None]) -> ScorecardRead:
    ratio, scope, exposed = scorecard.sample_ratio, scorecard.scope, scorecard.exposures.compared_exposed
    metrics = []
    slices = TimeSlices()
    for counted, analysis in zip(scorecard.metrics, analyses, strict=True):
        await slices.pause()  # each takes up to a millisecond of the event loop
        lack = _explain_lack(counted, scorecard)
        metrics.append(show_metric(counted, analysis, scorecard.exposures.exposed, ratio, lack))
    return ScorecardRead(
        date_range=DateRangeRead.of(scope.start, scope.last, scope.timezone),
        sample_ratio_mismatch=write_sample_ratio(ratio) if ratio and any(exposed.values()) else None,
        unit=scorecard.exposures.query.unit,
        attribution=scorecard.scope.attributed_by,
        lost_variants=scorecard.exposures.lost,
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
    slices = TimeSlices()
    for day, analysis in zip(steps.ends, analyses, strict=True):
        await slices.pause()  # each takes up to a millisecond of the event loop
        if analysis is not None and counted.kind is not None:
            written[names[day]] = write_analysis(counted.kind, analysis)
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
    require_variants(scorecard.exposures)
    return await _in_thread(lambda: scorecard.analyze(config))


async def _analyze_days(
    scorecard: Scorecard, config: AnalysisConfig, index: int, days: Sequence[int]
) -> list[Analysis | None]:
    """Return the analyses of one metric at the end of each of some days; where no count changed, it is the same one."""
    require_variants(scorecard.exposures)

    def analyze() -> list[Analysis | None]:
        found, before = list[Analysis | None](), None
        for day in days:
            inputs = scorecard.inputs(day)
            found.append(found[-1] if inputs == before else scorecard.analyze(config, day)[index])
            before = inputs
        return found

    return await _in_thread(analyze)


async def _in_thread(analyze: Callable[[], list[Analysis | None]]) -> list[Analysis | None]:
    try:
        return await asyncio.to_thread(analyze)
    except ValueError as error:
        raise ValidationFailed(str(error)) from error


def _config(experiment: Experiment) -> AnalysisConfig:
    return read_config(ExperimentStatsConfig.model_validate(experiment.stats_config or {}))


def _criteria(experiment: Experiment) -> Criteria:
    criteria = DecisionCriteria.model_validate(experiment.decision_criteria or {})
    return Criteria(criteria.preset, criteria.target_mde, criteria.minimum_runtime_days)


def show_metric(
    counted: CountedMetric,
    analysis: Analysis | None,
    exposed: Mapping[str, int],
    ratio: SampleRatio | None,
    lack: str = "",
) -> MetricAnalysisRead:
    """Return a metric with its analysis in its documented form; ``lack`` says why there may be nothing to compare.

    Where ``ratio``, the test of the exposed persons against the split, is a mismatch, the conclusion says so.
    """
    shown: AnalysisRead | None = None
    if analysis is not None and counted.kind is not None:
        shown = write_analysis(counted.kind, analysis, ratio)
    status = _status(analysis)
    return MetricAnalysisRead(
        metric_id=counted.metric.id,
        name=counted.metric.name,
        role=counted.metric.role.role,
        goal=counted.metric.role.goal,
        status=status,
        detail=counted.problem or (lack if status == "insufficient_data" else ""),
        analysis=shown,
        **details_of(counted, exposed),
    )


def _explain_lack(counted: CountedMetric, scorecard: Scorecard) -> str:
    """Say why there is nothing to compare, if the reason is known."""
    lost, exposed = describe_lost_variants(scorecard.exposures), scorecard.exposures.exposed
    if lost or counted.metric.typed is None or not all(exposed.values()):
        return lost
    unit = scorecard.exposures.query.unit
    return f"There are exposed {unit} of each variant, but too few have started, or waited until the window was over."


def _status(analysis: Analysis | None) -> MetricStatus:
    if analysis is None:
        return "unavailable"
    has_data = sum(one.sample.number_of_samples > 0 for one in analysis.variants) > 1
    return "ok" if has_data else "insufficient_data"


def _fingerprint(counted: CountedMetric, config: AnalysisConfig) -> str:
    document = [counted.digest, repr(config), counted.metric.role.goal]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
