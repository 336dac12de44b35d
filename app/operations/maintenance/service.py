"""Keeps the counts of one project's experiments."""

from collections.abc import Sequence
from typing import Any

from app.common.errors import ValidationFailed
from app.db.models import Experiment
from app.experiments.scorecard.counting import ScorecardCounter, metrics_of
from app.metrics.counting.metric import Metric
from app.metrics.counting.service import FactService
from app.metrics.queries.service import ExperimentQuestions


class UpkeepService:
    def __init__(self, facts: FactService, questions: ExperimentQuestions, scorecards: ScorecardCounter) -> None:
        self._facts = facts
        self._questions = questions
        self._scorecards = scorecards

    async def keep_up(self, experiment: Experiment) -> None:
        """Count all metrics of a started experiment ahead of the next reader, who then has little left to wait for."""
        await self._facts.counts_or_refusals(await self._questions_about(experiment))

    async def remove_unused(self, experiments: Sequence[Experiment]) -> None:
        """Remove what was counted for metrics that none of the project's experiments has any more."""
        await self._facts.remove_unused([metric for one in experiments for metric in await self._questions_about(one)])

    async def let_events_go(self, experiments: Sequence[Experiment], before: int) -> None:
        """See to it that events before a moment can be removed without changing what is known of the experiments.

        They have to be all the project has: what was counted for others is removed too, because it could not be
        completed any more.
        """
        asked: list[Metric[Any]] = []
        for experiment in experiments:
            questions = await self._questions_about(experiment)
            await self._facts.catch_up(questions)
            asked += questions
        await self._facts.keep_only(asked, before)

    async def _questions_about(self, experiment: Experiment) -> list[Metric[Any]]:
        """Return all questions that are asked about an experiment; what cannot be asked is told to whoever tries."""
        if experiment.start_date is None:
            return []
        scope = self._questions.scope(experiment)
        found: list[Metric[Any]] = []
        for metric in metrics_of(experiment):
            try:
                found += await self._questions.metrics(metric.filters, experiment.parameters, scope)
            except ValidationFailed:
                continue
        return [*found, *await self._scorecards.questions(experiment)]
