"""Finds conditions that are not understood, or name what is gone, in everything that decides an experiment."""

from collections.abc import AsyncIterator, Sequence

from app.common.errors import ValidationFailed
from app.common.time_slices import TimeSlices
from app.db.models import Experiment
from app.experiments.scorecard.counting import metrics_of
from app.flags.evaluation.conditions import parse_conditions
from app.flags.filters import groups_of
from app.metrics.queries.cohort_references import CohortReferences
from app.metrics.queries.service import MetricQueryBuilder
from app.properties.filters import Conjunction, InvalidFilter, conditions_of
from app.properties.matcher import searches_of
from app.properties.validation import compile_patterns


class FilterProblems:
    """Checks the stored filters of one project's experiments.

    What is written today is refused where it is not understood. Documents that are older, or name a cohort or an action
    that was deleted, match no one.
    """

    def __init__(self, queries: MetricQueryBuilder, cohorts: CohortReferences) -> None:
        self._queries = queries
        self._cohorts = cohorts

    async def of(self, experiment: Experiment, *, with_metrics: bool) -> Sequence[str]:
        """Return what is wrong, each with its place."""
        found = [problem async for problem in self._in_flag(experiment)]
        slices = TimeSlices()
        metrics = metrics_of(experiment) if with_metrics else []
        for metric in metrics:  # `custom_exposure_filter` has a finding of its own
            if metric.typed is None:
                problem = await self._queries.problem_of(metric.filters)
            else:
                problem = await self._queries.problem_of_typed(metric.typed, experiment)
            if problem:
                found.append(f"the metric {metric.name!r}: {problem}")
            if slices.are_over():
                await slices.pause()
        if with_metrics and (problem := await self._queries.problem_of_criteria(experiment)):
            found.append(f"`exposure_criteria`: {problem}")
        return found

    async def _in_flag(self, experiment: Experiment) -> AsyncIterator[str]:
        flag = experiment.feature_flag
        for number, group in enumerate(groups_of(flag.filters), start=1):
            try:
                conditions = Conjunction(tuple(parse_conditions(group.get("properties") or [])))
                await compile_patterns([conditions])
                for condition in conditions_of(conditions):
                    searches_of(condition)  # refuses patterns that cannot be run
                await self._cohorts.check([conditions])
            except (InvalidFilter, ValidationFailed) as error:
                yield f"release condition {number} of the flag: {error.detail}"
