"""What experiments of a project do by themselves: the schedule and the circuit breakers, step by step."""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from app.analysis.service import read_config
from app.common.errors import ValidationFailed
from app.common.number_texts import format_change, format_chosen_share
from app.db.database import Database
from app.db.models import Experiment
from app.experiments.automation.planning import metric_of
from app.experiments.automation.schemas import CircuitBreaker
from app.experiments.changes import ExperimentChanges
from app.experiments.phases.service import Harm, PhaseService, armed_breakers, due_step, end_is_due, start_is_due
from app.experiments.repository import ExperimentRepository
from app.experiments.scorecard.counting import ScorecardCounter
from app.experiments.scorecard.schemas import ExperimentStatsConfig
from app.experiments.scorecard.standings import has_too_few, with_data
from app.statistics.estimates import Interval
from app.statistics.results import Analysis, AnalysisConfig, VariantAnalysis

logger = logging.getLogger("abacus")


class PhaseUpkeep:
    """Does what the experiments of one project plan, in transactions of its own.

    A failure of one experiment is logged, and tried again at the next step.
    """

    def __init__(
        self, database: Database, changes: ExperimentChanges[PhaseService], counter: ScorecardCounter, project_id: int
    ) -> None:
        self._database = database
        self._changes = changes
        self._counter = counter
        self._project_id = project_id

    async def step(self, now: dt.datetime) -> None:
        """Do all that is due as of a time."""
        await self.follow_schedules(now)
        await self.watch(now)

    async def follow_schedules(self, now: dt.datetime) -> None:
        """Start, ramp and end what is due as of a time."""
        await self._for_each(lambda experiment: self._follow_schedule(experiment, now), now)

    async def watch(self, now: dt.datetime) -> None:
        """Let circuit breakers act on what can be counted."""
        await self._for_each(lambda experiment: self._watch(experiment, now), now)

    async def _for_each(self, work: Callable[[Experiment], Awaitable[None]], now: dt.datetime) -> None:
        async with self._database.read() as session:
            experiments = await ExperimentRepository(session, self._project_id).automated(now)
        for experiment in experiments:
            try:
                await work(experiment)
            except Exception:  # an error of one experiment must not stop the others
                logger.exception("upkeep of experiment %d failed", experiment.id)

    async def _watch(self, experiment: Experiment, now: dt.datetime) -> None:
        for breaker in armed_breakers(experiment, now):
            await self._check(experiment, breaker, now)

    async def _follow_schedule(self, experiment: Experiment, now: dt.datetime) -> None:
        if start_is_due(experiment, now):
            await self._start(experiment.id, now)
        if due_step(experiment, now) is not None:
            await self._change(lambda phases: phases.ramp(experiment.id, now))
        if end_is_due(experiment, now):
            await self._change(lambda phases: phases.end_as_scheduled(experiment.id, now))

    async def _start(self, experiment_id: int, now: dt.datetime) -> None:
        try:
            await self._change(lambda phases: phases.start(experiment_id, now))
        except ValidationFailed as refusal:
            detail = refusal.detail
            await self._change(lambda phases: phases.note_refused_start(experiment_id, now, detail))

    async def _change(self, change: Callable[[PhaseService], Awaitable[None]]) -> None:
        await self._changes.make(change)

    async def _check(self, experiment: Experiment, breaker: CircuitBreaker, now: dt.datetime) -> None:
        """Let a circuit breaker act if its metric is harmed."""
        metric = metric_of(experiment, breaker)
        if metric is None:
            return
        try:
            scorecard = await self._counter.count(experiment, only={metric.id})
            config = watching_config(experiment, len(scorecard.exposures.compared) - 1)
            [analysis] = await asyncio.to_thread(scorecard.analyze, config)
        except (ValidationFailed, ValueError):  # it cannot be compared, which health and analysis say
            return
        harm = find_harm(breaker, metric.name, analysis) if analysis is not None else None
        if harm is not None and await self._changes.make(lambda phases: phases.trip(experiment.id, breaker, harm, now)):
            logger.warning(
                "circuit breaker of experiment %d acted (%s): %s", experiment.id, breaker.action, harm.detail
            )


def watching_config(experiment: Experiment, test_variants: int) -> AnalysisConfig:
    """Return the configuration that circuit breakers rest on: anytime-valid, and for all test variants together."""
    config = read_config(ExperimentStatsConfig.model_validate(experiment.stats_config or {}))
    level = 1 - config.alpha / max(test_variants, 1)
    return replace(config, method="frequentist", is_sequential=True, confidence_level=level)


def _relative_interval(variant: VariantAnalysis, baseline: VariantAnalysis) -> Interval | None:
    """Return the relative anytime-valid interval of a variant; that of the difference where all its values are 0.

    Nothing is known of how the latter vary, so that there is no interval of their ratio: but a metric that broke down
    altogether is the harm that circuit breakers are for.
    """
    interval, mean = variant.difference.sequential_interval, baseline.sample.mean
    if variant.relative_difference.sequential_interval is not None or variant.sample.sum_squares != 0:
        return variant.relative_difference.sequential_interval
    return None if interval is None or not mean or mean < 0 else (interval[0] / mean, interval[1] / mean)


def find_harm(breaker: CircuitBreaker, name: str, analysis: Analysis) -> Harm | None:
    """Return the first harm of a variant: its whole interval lies beyond the threshold, and enough were exposed."""
    baseline = analysis.baseline.sample
    for variant in with_data(analysis):
        sample, interval = variant.sample, _relative_interval(variant, analysis.baseline)
        is_small = min(sample.number_of_samples, baseline.number_of_samples) < breaker.min_exposures
        if interval is None or is_small or has_too_few(variant):
            continue
        low, high = interval
        tolerated = breaker.threshold_relative
        if (low > tolerated) if breaker.direction == "increase" else (high < -tolerated):
            exposed = int(sample.number_of_samples + baseline.number_of_samples)
            detail = (
                f"{name} of {sample.key} {breaker.direction}d against {baseline.key} by more than the "
                f"{format_chosen_share(tolerated)} tolerated: relative anytime interval {format_change(low)} to "
                f"{format_change(high)}, {exposed:,} exposed."
            )
            return Harm(baseline.key, sample.key, (low, high), exposed, detail)
    return None
