"""Answers who was exposed: experiment -> query -> facts -> counts."""

from app.db.models import Experiment
from app.experiments.exposures.counting import Exposures, ask_exposures
from app.metrics.aggregation.calendar import Interval
from app.metrics.counting.service import FactService
from app.metrics.queries.service import ExperimentQuestions


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
        question = await ask_exposures(self._questions, experiment, self._questions.scope(experiment), interval)
        [counts] = await self._facts.counts([question.metric])
        return question.answer(counts)
