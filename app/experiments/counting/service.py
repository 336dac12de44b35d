"""Counts an experiment once for everything that is derived from it: its health, its page, its snapshots."""

from collections.abc import Collection
from dataclasses import dataclass

from app.common.errors import ValidationFailed
from app.db.models import Experiment
from app.experiments.exposures.counting import Exposures, ExposureService
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.experiments.results.service import ResultsService, judge
from app.experiments.results.target import CountedTarget
from app.experiments.scorecard.counting import Scorecard, ScorecardCounter


@dataclass(frozen=True)
class CountedExperiment:
    """The counts of an experiment. Where a part cannot be counted, the refusal stands in its place.

    Attributes
    ----------
    target : CountedTarget or ValidationFailed
        The target metric.
    scorecard : Scorecard or ValidationFailed
        The metrics by day, the exposures and the traffic split; a refusal where exposures cannot be counted.
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

    def require_scorecard(self) -> Scorecard:
        """Return the scorecard, or raise the refusal in its place."""
        if isinstance(self.scorecard, ValidationFailed):
            raise self.scorecard
        return self.scorecard


class ExperimentCounter:
    """Counts one project's experiments."""

    def __init__(self, results: ResultsService, exposures: ExposureService, scorecards: ScorecardCounter) -> None:
        self._results = results
        self._exposures = exposures
        self._scorecards = scorecards

    async def count(self, experiment: Experiment, only: Collection[str] | None = None) -> CountedExperiment:
        """Count the target metric, the exposures, and the metrics by day (``only`` those with some ids)."""
        target, exposures = await self._count_target(experiment)
        if isinstance(exposures, ValidationFailed):
            return CountedExperiment(target, exposures)
        return CountedExperiment(target, await self._scorecards.count_metrics(experiment, exposures, only))

    async def _count_target(
        self, experiment: Experiment
    ) -> tuple[CountedTarget | ValidationFailed, Exposures | ValidationFailed]:
        try:
            target = await self._results.target(experiment)
        except ValidationFailed as refusal:
            try:
                return refusal, await self._exposures.exposures(experiment)
            except ValidationFailed as other:
                return refusal, other
        return target, target.exposures
