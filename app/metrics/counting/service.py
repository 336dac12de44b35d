"""Counting metrics, from stored counts where that is faster and never less exact."""

import contextlib
import datetime as dt
from collections.abc import Sequence
from typing import Any

from app.common.errors import ValidationFailed
from app.common.timestamps import from_microseconds
from app.db.database import Database
from app.db.models import utc_now
from app.metrics.counting.fact_query import CountsT, FactQuery
from app.metrics.counting.incremental import MAX_DELTA, Counted, MetricCounter
from app.metrics.facts.event_sets import EventSet, series_of
from app.metrics.facts.materializer import CHUNK, MaterializedSeries, Materializer
from app.metrics.facts.read_filters import CohortMembers, ProjectCohorts
from app.metrics.facts.repository import CountQueries, CountRepository, FactRepository, SeriesGone

AGE_OF_REMOVAL = dt.timedelta(days=30)


class EventsRemoved(ValidationFailed):
    """The question is about a time whose events are gone: the numbers would be too small."""

    def __init__(self, since: int) -> None:
        super().__init__(
            f"Events before {from_microseconds(since).isoformat()} were removed, and this metric needs some of them.",
            code="events_removed",
        )


class FactService:
    """Facts of one project."""

    def __init__(
        self, database: Database, materializer: Materializer, project_id: int, cohorts: CohortMembers | None = None
    ) -> None:
        self._database = database
        self._materializer = materializer
        self._project_id = project_id
        self._cohorts = cohorts or ProjectCohorts()

    async def counts(self, metrics: Sequence[FactQuery[CountsT]], *, recompute: bool = False) -> list[CountsT]:
        """Return the counts of metrics as of one moment; ``recompute``: from all facts.

        Raises
        ------
        EventsRemoved
            When one of them cannot be counted any more.
        """
        found: list[CountsT] = []
        for counts in await self.counts_or_refusals(metrics, recompute=recompute):
            if isinstance(counts, EventsRemoved):
                raise counts
            found.append(counts)
        return found

    async def counts_or_refusals(
        self, metrics: Sequence[FactQuery[CountsT]], *, recompute: bool = False
    ) -> list[CountsT | EventsRemoved]:
        """Return what ``counts`` does, and for a metric that cannot be counted any more the refusal."""
        while True:
            async with self._database.aggregation_slots:
                series = await self.catch_up(metrics)
                with contextlib.suppress(
                    SeriesGone
                ):  # nobody had used them for long; those made now are young and stay
                    return [await self._count_or_refuse(metric, series, recompute=recompute) for metric in metrics]

    async def _count_or_refuse(
        self, metric: FactQuery[CountsT], series: MaterializedSeries, *, recompute: bool
    ) -> CountsT | EventsRemoved:
        try:
            return await self.count(metric, series, recompute=recompute)
        except EventsRemoved as refusal:
            return refusal

    async def catch_up(self, metrics: Sequence[FactQuery[Any]]) -> MaterializedSeries:
        """Bring the series of metrics up to the last committed event."""
        event_sets: list[EventSet] = [event_set for metric in metrics for event_set in metric.event_sets]
        return await self._materializer.catch_up(self._project_id, series_of(event_sets))

    async def count(
        self, metric: FactQuery[CountsT], series: MaterializedSeries, *, recompute: bool = False
    ) -> CountsT:
        """Return the counts of a metric whose series were brought up to date. ``recompute``: from all facts.

        Of several requests for one metric the first does the work, and the others add what is new since.

        Raises
        ------
        SeriesGone
            When one of the series was removed meanwhile: bring them up to date again.
        EventsRemoved
            When the metric is about a time whose events were removed before it was first asked.
        """
        events_since = max(
            (series.events_available_since[one.digest] for one in series_of(metric.event_sets)), default=0
        )
        if metric.needs_events_since < events_since:
            raise EventsRemoved(events_since)
        async with self._materializer.lock_for((self._project_id, metric.digest)):
            counted, is_news = await self._count(metric, series, recompute=recompute or not metric.is_incremental)
            if metric.is_incremental and is_news and len(counted.pending) < MAX_DELTA:
                async with self._database.write(durable=False) as session:
                    await CountRepository(session, self._project_id).store(metric.digest, counted.to_stored())
        return counted.counts

    async def _count(
        self, metric: FactQuery[CountsT], series: MaterializedSeries, *, recompute: bool
    ) -> tuple[Counted[CountsT], bool]:
        """Return the counts, and whether they differ enough from the stored ones to be kept."""
        if not recompute:
            found = await CountQueries(self._database, self._project_id).find(metric.digest)
            async with self._database.read() as session:  # which it does not need yet
                counter = MetricCounter(session, self._project_id, metric, series, self._cohorts)
                known = counter.restore(*found)
                if known is not None and counter.is_up_to_date(known):
                    return known, False
        async with self._database.snapshot() as session:
            counter = MetricCounter(session, self._project_id, metric, series, self._cohorts)
            known = await counter.find_stored()
            if known is not None and not recompute and (added := await counter.apply_delta(known)) is not None:
                return added, added.counts is not known.counts
            return await counter.recompute(), True

    async def remove_unused(self, used: Sequence[FactQuery[Any]], *, older_than: dt.timedelta = AGE_OF_REMOVAL) -> None:
        """Remove the series, facts and counts that none of the metrics uses, a few at a time.

        Young ones stay: an edit may be taken back, and others than results have questions too.
        """
        before = utc_now() - older_than
        async with self._database.write(durable=False) as session:
            await CountRepository(session, self._project_id).remove_others({metric.digest for metric in used}, before)
            await FactRepository(session, self._project_id).retire(_series_digests(used), before)
        await self._remove_retired()

    async def keep_only(self, used: Sequence[FactQuery[Any]], events_since: int) -> None:
        """Let events before a moment go: note it, and remove the series that would lack them.

        The series of the metrics must have been brought up to date; they are complete without events.
        """
        async with self._database.write() as session:
            facts = FactRepository(session, self._project_id)
            await facts.note_removal(events_since)
            await facts.retire(_series_digests(used))
        await self._remove_retired()

    async def _remove_retired(self) -> None:
        async with self._database.read() as session:
            retired = await FactRepository(session, self._project_id).retired()
        for series_id in retired:
            done = False
            while not done:
                async with self._database.write(durable=False) as session:
                    done = await FactRepository(session, self._project_id).remove_some(series_id, CHUNK)


def _series_digests(metrics: Sequence[FactQuery[Any]]) -> set[str]:
    return {one.digest for one in series_of([event_set for metric in metrics for event_set in metric.event_sets])}
