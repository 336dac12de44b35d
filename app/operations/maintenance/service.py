"""Maintenance of the stored counts of one project's experiments."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from app.common import limits
from app.common.errors import ValidationFailed
from app.common.time_slices import TimeSlices
from app.db.errors import is_statement_timeout, is_transient_database_error
from app.db.models import Experiment
from app.experiments.scorecard.counting import ScorecardCounter
from app.experiments.scorecard.experiment_metrics import metrics_of
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import EventsRemoved, FactService
from app.metrics.facts.catching_up import Unfinished
from app.metrics.facts.materializer import MaterializedSeries
from app.metrics.facts.stored_series import SeriesGone
from app.metrics.failures import ATTEMPTS, CountingFailures
from app.metrics.queries.service import MetricQueryBuilder
from app.people.erased_persons.answers import digest_of
from app.properties.filters import Node
from app.properties.subjects import Subject, atoms, subject

logger = logging.getLogger("abacus")

# Facts are made of events for at most about that long, before others have their turn.
_SECONDS_OF_FACTS = 1.0
_PERSON = Subject("person")


class MaintenanceService:
    def __init__(
        self,
        facts: FactService,
        queries: MetricQueryBuilder,
        scorecards: ScorecardCounter,
        failures: CountingFailures,
    ) -> None:
        self._facts = facts
        self._queries = queries
        self._scorecards = scorecards
        self._failures = failures

    async def refresh_counts(self, experiment: Experiment) -> AsyncIterator[None]:
        """Refresh the counts of all metrics of a started experiment, so that the next reader waits less.

        It pauses after each piece of work, where it holds nothing that others need. A metric that repeatedly fails is
        skipped until its next attempt.
        """
        planned = {query.digest: (metric_id, query) for metric_id, query in await self._fact_queries_of(experiment)}
        self._failures.keep_only(experiment.id, planned.keys())
        due = {digest: planned[digest] for digest in planned if self._failures.is_due(experiment.id, digest)}
        if not due:
            return
        series = None
        while series is None:
            series = await self._catch_up([query for _, query in due.values()])
            yield
        for metric_id, query in due.values():
            await self._refresh(experiment, metric_id, query, series)
            yield

    async def _catch_up(self, queries: Sequence[FactQuery[Any]]) -> MaterializedSeries | None:
        """Make facts of events for a while; return the series once they are up to date."""
        async with self._facts.background_slot():
            try:
                return await self._facts.catch_up(queries, _SECONDS_OF_FACTS)
            except Unfinished:
                return None

    async def _refresh(
        self, experiment: Experiment, metric_id: str, query: FactQuery[Any], series: MaterializedSeries
    ) -> None:
        try:
            async with self._facts.background_slot(), asyncio.timeout(limits.COUNT_SECONDS.value):
                await self._facts.count(query, series)
        except (SeriesGone, EventsRemoved):  # removed meanwhile, or refused: the reader gets the error
            pass
        except Exception as error:
            is_late = isinstance(error, TimeoutError) or is_statement_timeout(error)
            if not is_late and is_transient_database_error(error):
                raise
            detail = limits.COUNT_SECONDS.detail if is_late else f"{type(error).__name__}."
            failure = self._failures.note(experiment.id, metric_id, query.digest, detail)
            if failure.times <= ATTEMPTS:  # later ones are the same
                logger.warning(
                    "could not count metric %s of experiment %d (%s), attempt %d of %d: %s",
                    metric_id,
                    experiment.id,
                    query.description,
                    failure.times,
                    ATTEMPTS,
                    detail,
                    exc_info=not is_late,
                )
            return
        self._failures.forget(experiment.id, query.digest)

    async def remove_unused(self, experiments: Sequence[Experiment]) -> None:
        """Remove the facts and counts of metrics that no experiment of the project has any more."""
        await self._facts.remove_unused([query for one in experiments for _, query in await self._fact_queries_of(one)])

    async def prepare_event_removal(self, experiments: Sequence[Experiment], before: int) -> None:
        """Complete the facts of experiments, so that events before a moment can be removed without changing results.

        They have to be all experiments of the project: the facts of other metrics are removed, because they could not
        be completed any more.
        """
        asked: list[FactQuery[Any]] = []
        for experiment in experiments:
            queries = [query for _, query in await self._fact_queries_of(experiment)]
            await self._facts.catch_up(queries)
            asked += queries
        await self._facts.keep_only(asked, before)

    async def conditions_on_persons(self, experiments: Sequence[Experiment]) -> dict[str, Node]:
        """Return the conditions on persons and cohorts of all metrics, by digest."""
        found: dict[str, Node] = {}
        for experiment in experiments:
            for _, query in await self._fact_queries_of(experiment):
                parts = [part for event_set in query.event_sets for part in event_set.parts]
                asked = [one for part in parts for one in atoms(part.condition) if subject(one) == _PERSON]
                found |= {digest_of(one): one for one in asked}
        return found

    async def complete_facts(self, experiments: Sequence[Experiment], seconds: float) -> bool:
        """Make facts of all events that the metrics count; return whether that took at most some seconds."""
        deadline = time.monotonic() + seconds
        for experiment in experiments:
            queries = [query for _, query in await self._fact_queries_of(experiment)]
            try:
                await self._facts.catch_up(queries, deadline - time.monotonic())
            except Unfinished:
                return False
        return True

    async def forget_breakdowns(self) -> None:
        """Remove the values of properties that breakdowns kept."""
        await self._facts.forget_breakdowns()

    async def _fact_queries_of(self, experiment: Experiment) -> list[tuple[str, FactQuery[Any]]]:
        """Return all queries about an experiment, each with the id of its metric.

        An invalid metric is skipped; its reader gets the error.
        """
        if experiment.start_date is None:
            return []
        scope = self._queries.scope(experiment)
        try:
            exposures = await self._queries.exposures_to_attribute_by(experiment, scope)
        except ValidationFailed:  # then there is nothing to count
            return []
        found: list[tuple[str, FactQuery[Any]]] = []
        slices = TimeSlices()
        for metric in metrics_of(experiment):
            await slices.pause()  # each takes a millisecond of the event loop
            try:
                queries = await self._queries.metrics(metric.filters, experiment.parameters, exposures, scope)
            except ValidationFailed:
                continue
            found += [(metric.id, query) for query in queries]
        return [*found, *await self._scorecards.fact_queries(experiment)]
