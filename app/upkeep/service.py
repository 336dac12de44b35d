"""Keeps the counts of one project's experiments."""

from collections.abc import Sequence
from typing import Any

from app.errors import ValidationFailed
from app.facts.metric import Metric
from app.facts.service import FactService
from app.models import Experiment
from app.results.questions import ExperimentQuestions
from app.scorecards.counting import ScorecardCounter, metrics_of


class UpkeepService:
    def __init__(self, facts: FactService, questions: ExperimentQuestions, scorecards: ScorecardCounter) -> None:
        self._facts = facts
        self._questions = questions
        self._scorecards = scorecards

    async def keep_up(self, experiment: Experiment) -> None:
        """Count all metrics of a started experiment ahead of the next reader, who then has little left to wait for."""
        await self._facts.counts(await self._metrics(experiment))

    async def remove_unused(self, experiments: Sequence[Experiment]) -> None:
        """Remove what was counted for metrics that none of the project's experiments has any more."""
        started = [experiment for experiment in experiments if experiment.start_date is not None]
        await self._facts.remove_unused([metric for one in started for metric in await self._metrics(one)])

    async def _metrics(self, experiment: Experiment) -> list[Metric[Any]]:
        """Return all questions that are asked about an experiment; what cannot be asked is told to whoever tries."""
        scope = self._questions.scope(experiment)
        found: list[Metric[Any]] = []
        for metric in metrics_of(experiment):
            try:
                found += await self._questions.metrics(metric.filters, experiment.parameters, scope)
            except ValidationFailed:
                continue
        return [*found, *await self._scorecards.questions(experiment)]
