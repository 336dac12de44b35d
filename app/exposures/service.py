"""Answers who was exposed: experiment -> query -> facts -> counts."""

from dataclasses import dataclass

from app.exposures.counting import exposure_metric
from app.facts.calendar import Interval, Ticks
from app.facts.exposures import ExposureCounts
from app.facts.service import FactService
from app.models import Experiment
from app.results.queries import ExperimentScope
from app.results.questions import ExperimentQuestions, ExposureQuery, buckets


@dataclass(frozen=True)
class Exposures:
    """Who was exposed to an experiment, as of one moment."""

    query: ExposureQuery
    scope: ExperimentScope
    ticks: Ticks
    counts: ExposureCounts

    @property
    def exposed(self) -> dict[str, int]:
        """Persons of each variant who were shown no other."""
        return dict(zip(self.scope.variants, self.counts.exposed.tolist(), strict=True))


class ExposureService:
    """Exposures of one project's experiments."""

    def __init__(self, facts: FactService, questions: ExperimentQuestions) -> None:
        self._facts = facts
        self._questions = questions

    async def exposures(self, experiment: Experiment, interval: Interval = "day") -> Exposures:
        """Count who was exposed to an experiment.

        Raises
        ------
        ValidationFailed
            When the experiment has not started, or its time has too many intervals.
        """
        scope = self._questions.scope(experiment)
        query = await self._questions.exposures(experiment, scope)
        ticks = buckets(scope, interval)
        metric = exposure_metric(query, ticks, interval, scope)
        [counts] = await self._facts.counts([metric])
        return Exposures(query, scope, ticks, counts)
