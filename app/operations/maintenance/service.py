"""Maintenance of the stored counts of one project's experiments."""

from collections.abc import Sequence
from typing import Any

from app.common.errors import ValidationFailed
from app.db.models import Experiment
from app.experiments.scorecard.counting import ScorecardCounter, metrics_of
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.queries.service import MetricQueryBuilder


class MaintenanceService:
    def __init__(self, facts: FactService, queries: MetricQueryBuilder, scorecards: ScorecardCounter) -> None:
        self._facts = facts
        self._queries = queries
        self._scorecards = scorecards

    async def refresh_counts(self, experiment: Experiment) -> None:
        """Refresh the counts of all metrics of a started experiment, so that the next reader waits less."""
        await self._facts.counts_or_refusals(await self._fact_queries_of(experiment))

    async def remove_unused(self, experiments: Sequence[Experiment]) -> None:
        """Remove the facts and counts of metrics that no experiment of the project has any more."""
        await self._facts.remove_unused([metric for one in experiments for metric in await self._fact_queries_of(one)])

    async def prepare_event_removal(self, experiments: Sequence[Experiment], before: int) -> None:
        """Complete the facts of experiments, so that events before a moment can be removed without changing results.

        They have to be all experiments of the project: the facts of other metrics are removed, because they could not
        be completed any more.
        """
        asked: list[FactQuery[Any]] = []
        for experiment in experiments:
            queries = await self._fact_queries_of(experiment)
            await self._facts.catch_up(queries)
            asked += queries
        await self._facts.keep_only(asked, before)

    async def _fact_queries_of(self, experiment: Experiment) -> list[FactQuery[Any]]:
        """Return all queries about an experiment. An invalid metric is skipped; its reader gets the error."""
        if experiment.start_date is None:
            return []
        scope = self._queries.scope(experiment)
        found: list[FactQuery[Any]] = []
        for metric in metrics_of(experiment):
            try:
                found += await self._queries.metrics(metric.filters, experiment.parameters, scope)
            except ValidationFailed:
                continue
        return [*found, *await self._scorecards.fact_queries(experiment)]
