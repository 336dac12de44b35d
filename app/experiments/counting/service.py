"""Counts an experiment once for everything that is derived from it: its health, its page, its snapshots."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from app.common.errors import ValidationFailed
from app.db.models import Experiment
from app.experiments.exposures.counting import ExposurePlan, ExposurePlanner, Exposures
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.experiments.results.service import ResultsService, judge
from app.experiments.results.target import CountedTarget, PlannedTarget
from app.experiments.scorecard.counting import Scorecard, ScorecardCounter
from app.metrics.counting.service import EventsRemoved, FactService


@dataclass(frozen=True)
class Verdict:
    """The verdict by the rule of 2022; where there are no results, ``refusal`` says why."""

    results: FunnelResultsRead | TrendResultsRead | None
    refusal: str = ""


@dataclass(frozen=True)
class CountedExperiment:
    """The counts of an experiment. Where a part cannot be counted, the refusal stands in its place.

    Attributes
    ----------
    target : CountedTarget or ValidationFailed
        The target metric.
    scorecard : Scorecard or ValidationFailed
        The metrics by day and the exposures; a refusal where exposures cannot be counted.
    """

    target: CountedTarget | ValidationFailed
    scorecard: Scorecard | ValidationFailed

    def judge(self) -> FunnelResultsRead | TrendResultsRead:
        """Return the verdict on the target metric.

        Raises
        ------
        ValidationFailed
            When it cannot be counted, or there are no data to compare.
        """
        if isinstance(self.target, ValidationFailed):
            raise self.target
        return judge(self.target)

    def verdict(self) -> Verdict:
        """Return the verdict, or why there is none."""
        try:
            return Verdict(self.judge())
        except ValidationFailed as refusal:
            return Verdict(None, refusal.detail)

    def require_scorecard(self) -> Scorecard:
        """Return the scorecard, or raise the refusal in its place."""
        if isinstance(self.scorecard, ValidationFailed):
            raise self.scorecard
        return self.scorecard


class ExperimentCounter:
    """Counts one project's experiments."""

    def __init__(
        self, facts: FactService, planner: ExposurePlanner, results: ResultsService, scorecards: ScorecardCounter
    ) -> None:
        self._facts = facts
        self._planner = planner
        self._results = results
        self._scorecards = scorecards

    async def count(self, experiment: Experiment, only: Collection[str] | None = None) -> CountedExperiment:
        """Count the target metric, the exposures, and the metrics by day (``only`` those with some ids).

        All of them are counted as of one moment, so that what is derived from one agrees with the others.
        """
        try:
            exposures = await self._planner.plan(experiment)
        except ValidationFailed as refusal:
            return CountedExperiment(refusal, refusal)
        target = await self._plan_target(experiment, exposures)
        scorecard = await self._scorecards.plan(experiment, exposures, only)
        of_target = [] if isinstance(target, ValidationFailed) else target.fact_queries
        exposed, *counts = await self._facts.counts_or_refusals(
            [exposures.fact_query, *of_target, *scorecard.fact_queries]
        )
        if isinstance(exposed, EventsRemoved):
            return CountedExperiment(exposed, exposed)
        counted_exposures, rest = exposures.answer(exposed), counts[len(of_target) :]
        return CountedExperiment(
            _counted(target, counted_exposures, counts[: len(of_target)]),
            scorecard.counted(counted_exposures, rest),
        )

    async def count_with_results(
        self, experiment: Experiment
    ) -> tuple[Scorecard, FunnelResultsRead | TrendResultsRead | None]:
        """Count as ``count``, and return the scorecard with the verdict on the target metric, if there is one.

        Raises
        ------
        ValidationFailed
            When exposures cannot be counted.
        """
        counted = await self.count(experiment)
        return counted.require_scorecard(), counted.verdict().results

    def adjusted_metrics(self, experiment: Experiment) -> frozenset[str]:
        """See ``ScorecardCounter.adjusted_metrics``."""
        return self._scorecards.adjusted_metrics(experiment)

    async def _plan_target(self, experiment: Experiment, exposures: ExposurePlan) -> PlannedTarget | ValidationFailed:
        try:
            return await self._results.plan_target(experiment, exposures)
        except ValidationFailed as refusal:
            return refusal


def _counted(
    target: PlannedTarget | ValidationFailed, exposures: Exposures, counts: Sequence[Any | EventsRemoved]
) -> CountedTarget | ValidationFailed:
    if isinstance(target, ValidationFailed):
        return target
    refusal = next((one for one in counts if isinstance(one, EventsRemoved)), None)
    return refusal or target.counted(exposures, counts)
