"""Finds conditions that are not understood, or name what is gone, in everything that decides an experiment."""

from collections.abc import AsyncIterator, Sequence

from app.common.errors import ValidationFailed
from app.db.models import Experiment
from app.experiments.health.definition import find_refused_parts
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
        if with_metrics:  # `custom_exposure_filter` has a finding of its own
            for metric, problem in await find_refused_parts(self._queries, experiment, self._queries.problem_of):
                place = "`exposure_criteria`" if metric is None else f"the metric {metric.name!r}"
                found.append(f"{place}: {problem}")
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
