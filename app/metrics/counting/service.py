"""Counts of metrics: brings series up to date, then counts what is new where that is exact."""

import asyncio
import contextlib
import datetime as dt
import functools
import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from app.common import limits
from app.common.errors import ValidationFailed
from app.common.large_blocks import large_blocks_kept
from app.common.pieces import work_off
from app.common.timestamps import from_microseconds
from app.db.bulk import chunks
from app.db.database import Database
from app.db.models import utc_now
from app.metrics.counting.basis import rest_on_more, rest_on_series
from app.metrics.counting.counted import Counted
from app.metrics.counting.deltas import Deltas, Member
from app.metrics.counting.fact_query import CountsT, FactQuery
from app.metrics.counting.incremental import MetricCounter
from app.metrics.counting.repository import CountQueries, CountRepository
from app.metrics.counting.shared_reads import SharedReads
from app.metrics.facts.actor_keys import ActorKeyRepository
from app.metrics.facts.event_sets import series_of
from app.metrics.facts.matching import MAX_KEY_CHARACTERS
from app.metrics.facts.materializer import CHUNK, MaterializedSeries, Materializer
from app.metrics.facts.read_filters import CohortMembers, ProjectCohorts
from app.metrics.facts.repository import FactRepository
from app.metrics.facts.series import SeriesDefinition
from app.metrics.facts.stored_series import SeriesGone
from app.metrics.facts.stores import fact_store
from app.people.persons.service import PersonFilterService

AGE_OF_REMOVAL = dt.timedelta(days=30)
# Metrics to which what is new is added in one transaction: what was added is kept when a later one takes too long.
_TOGETHER = 8


class EventsRemoved(ValidationFailed):
    """A metric needs events that were removed: its counts would be too small."""

    def __init__(self, since: int) -> None:
        super().__init__(
            f"Events before {from_microseconds(since).isoformat()} were removed, and this metric needs some of them.",
            code="events_removed",
        )


class FactService:
    """Counts the facts of one project."""

    def __init__(
        self, database: Database, materializer: Materializer, project_id: int, cohorts: CohortMembers | None = None
    ) -> None:
        self._database = database
        self.store = fact_store(database)
        self._materializer = materializer
        self._project_id = project_id
        self._cohorts = cohorts or ProjectCohorts()

    async def counts(self, metrics: Sequence[FactQuery[CountsT]], *, recompute: bool = False) -> list[CountsT]:
        """Return the counts of metrics as of one moment; with ``recompute`` from all facts.

        Raises
        ------
        EventsRemoved
            When one of them needs events that were removed.
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
        """Return what ``counts`` does, with the error in place of the counts of a metric that needs removed events."""
        while True:
            async with self.slot(), self._caught_up(metrics) as series:
                with contextlib.suppress(SeriesGone):  # removed as unused; those created now are too young for that
                    counts = await self._count_all(metrics, series, recompute=recompute)
                    return [await _compared(*pair) for pair in zip(metrics, counts, strict=True)]

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the slots in which facts are counted; projects share them."""
        async with contextlib.AsyncExitStack() as stack:
            with self._materializer.progress.doing(self._project_id, "waiting for an aggregation slot"):
                await stack.enter_async_context(self._database.aggregation_slots.slot(self._project_id))
            yield

    @contextlib.asynccontextmanager
    async def background_slot(self) -> AsyncIterator[None]:
        """Hold a slot for work that no request waits for: there is always one left for requests."""
        async with self._database.background_slots, self.slot():
            yield

    async def values_of_persons(self, name: str) -> tuple[dict[int, str], dict[int, int]]:
        """Return the values of a property of persons, as they are today, by numbers, and each person's number.

        It holds a slot, because all persons are read.
        """
        numbers: dict[str, int] = {}
        keys: dict[int, int] = {}
        async with self.slot(), self._database.snapshot() as session:  # rows are streamed, which needs a transaction
            async for person_id, text in PersonFilterService(session, self._project_id).values(name):
                keys[person_id] = numbers.setdefault(text[:MAX_KEY_CHARACTERS], len(numbers) + 1)
        return {number: text for text, number in numbers.items()}, keys

    async def catch_up(self, metrics: Sequence[FactQuery[Any]], seconds: float = math.inf) -> MaterializedSeries:
        """Bring the series of metrics up to the last committed event.

        Raises
        ------
        Unfinished
            When that takes longer than ``seconds``. What was done by then is kept.
        """
        with self._materializer.progress.doing(self._project_id, "making facts of events"):
            return await self._materializer.catch_up(self._project_id, _series_of_all(metrics), seconds)

    @contextlib.asynccontextmanager
    async def _caught_up(self, metrics: Sequence[FactQuery[Any]]) -> AsyncIterator[MaterializedSeries]:
        """Bring series up to date as ``catch_up`` does, and store their facts after the block if they are many."""
        async with contextlib.AsyncExitStack() as stack:
            with self._materializer.progress.doing(self._project_id, "making facts of events"):
                series = await stack.enter_async_context(
                    self._materializer.caught_up(self._project_id, _series_of_all(metrics))
                )
            yield series

    async def count(
        self, metric: FactQuery[CountsT], series: MaterializedSeries, *, recompute: bool = False
    ) -> CountsT:
        """Return the counts of a metric whose series were brought up to date; with ``recompute`` from all facts.

        Raises
        ------
        SeriesGone
            When one of the series was removed meanwhile: call ``catch_up`` again.
        EventsRemoved
            When the metric needs events that were removed before its series were created.
        """
        [counts] = await self._count_all([metric], series, recompute=recompute)
        if isinstance(counts, EventsRemoved):
            raise counts
        return counts

    async def _count_all(
        self, metrics: Sequence[FactQuery[CountsT]], series: MaterializedSeries, *, recompute: bool
    ) -> list[CountsT | EventsRemoved]:
        """Return the counts of metrics, or why there are none.

        What is stored of all is found by one query, and what is new is added to several in one transaction. Of several
        requests for one metric the first does the work, and the others add only what is new since.
        """
        answers: list[CountsT | EventsRemoved | None] = [_missing_events(metric, series) for metric in metrics]
        places = [place for place, answer in enumerate(answers) if answer is None]
        reads = SharedReads(metrics)
        known: dict[int, Counted[CountsT]] = {}
        if not recompute:
            kept = {place: metrics[place] for place in places if metrics[place].is_kept}
            # No stored count covers what was new just now.
            behind = [place for place, metric in kept.items() if _has_advanced(metric, series)]
            known, others = await self._known({one: kept[one] for one in kept.keys() - set(behind)}, series, reads)
            behind = [one for one in [*behind, *others] if not _is_unstored(metrics[one], series)]
            for some in chunks(behind, _TOGETHER):
                known |= await self._with_new({place: kept[place] for place in some}, series, reads)
        left = {place: metrics[place] for place in places if place not in known}
        known |= await self._recompute_all(left, series, reads, is_forced=recompute)
        for place in places:
            _note_basis(metrics[place], series, known[place])
            answers[place] = known[place].counts
        return [answer for answer in answers if answer is not None]

    async def _known(
        self, metrics: Mapping[int, FactQuery[CountsT]], series: MaterializedSeries, reads: SharedReads
    ) -> tuple[dict[int, Counted[CountsT]], Sequence[int]]:
        """Return the stored counts that are up to date, and the places of those that are not."""
        if not metrics:
            return {}, []
        digests = {metric.digest for metric in metrics.values()}
        found, last_merge = await CountQueries(self._database, self._project_id).find(digests)
        known: dict[int, Counted[CountsT]] = {}
        async with self._database.read() as session:  # passed on, but not used to find the counts
            for place, metric in metrics.items():
                counter = MetricCounter(session, self.store, self._project_id, metric, series, self._cohorts, reads)
                stored = found.get(metric.digest)
                if stored is None or counter.has_events_after(stored.watermark):  # not worth decoding
                    continue
                counted = await counter.restore(stored, last_merge)
                if counted is not None and counter.is_up_to_date(counted):
                    known[place] = counted
        behind = [place for place, metric in metrics.items() if metric.digest in found and place not in known]
        return known, behind

    async def _with_new(
        self, metrics: Mapping[int, FactQuery[CountsT]], series: MaterializedSeries, reads: SharedReads
    ) -> dict[int, Counted[CountsT]]:
        """Add what is new to stored counts, where that is possible, and store them."""
        async with self._locked(metrics.values()):
            async with self._database.snapshot() as session:
                of_all = series_of([one for metric in metrics.values() for one in metric.event_sets])
                found, last_merge = await CountRepository(session, self._project_id).find(
                    {metric.digest for metric in metrics.values()},
                    {series.ids[one.digest]: one.digest for one in of_all},
                )
                restored: dict[int, Member] = {}
                for place, metric in metrics.items():
                    counter = MetricCounter(session, self.store, self._project_id, metric, series, self._cohorts, reads)
                    counted = await counter.restore(found.get(metric.digest), last_merge)
                    if counted is not None:
                        restored[place] = (counter, counted)
                known = await Deltas(session, self.store, self._project_id).add(restored)
            await self._store(
                {
                    metrics[place].digest: added
                    for place, added in known.items()
                    if added is not restored[place][1] and added.is_storable
                }
            )
        return known

    async def _recompute_all(
        self,
        metrics: Mapping[int, FactQuery[CountsT]],
        series: MaterializedSeries,
        reads: SharedReads,
        *,
        is_forced: bool,
    ) -> dict[int, Counted[CountsT]]:
        """Count every fact of metrics, those of two at a time where a slot is free."""
        if not metrics:
            return {}
        counted: dict[int, Counted[CountsT]] = {}

        async def count(place: int) -> None:
            counted[place] = await self._recompute(metrics[place], series, reads, is_forced=is_forced)

        helpers = min(1, len(metrics) - 1)
        spare_slots = self._database.aggregation_slots.spare_slots(self._project_id, helpers)
        with large_blocks_kept(), spare_slots as spare:
            await work_off([functools.partial(count, place) for place in metrics], 1 + spare)
        return counted

    async def _recompute(
        self, metric: FactQuery[CountsT], series: MaterializedSeries, reads: SharedReads, *, is_forced: bool
    ) -> Counted[CountsT]:
        """Count every fact, unless another request has stored a count meanwhile."""
        async with self._locked([metric]):
            async with self._database.snapshot() as session:
                counter = MetricCounter(session, self.store, self._project_id, metric, series, self._cohorts, reads)
                known, counted = await counter.find_stored(), None
                if known is not None and metric.is_kept and not is_forced:
                    if counter.is_up_to_date(known):  # counted meanwhile, of facts that may be in memory still
                        counted = known
                    elif not _is_unstored(metric, series):
                        added = await Deltas(session, self.store, self._project_id).add({0: (counter, known)})
                        counted = added.get(0)
                if counted is None:
                    counted = await counter.recompute()
            if metric.is_kept and counted is not known and counted.is_storable:
                await self._store({metric.digest: counted})
        return counted

    @contextlib.asynccontextmanager
    async def _locked(self, metrics: Iterable[FactQuery[Any]]) -> AsyncIterator[None]:
        """Keep other requests of this process from counting the same, in an order in which none wait for each other."""
        described = {metric.digest: metric.description for metric in metrics}
        async with contextlib.AsyncExitStack() as stack:
            for digest, description in sorted(described.items()):
                stack.enter_context(self._materializer.progress.doing(self._project_id, f"counting {description}"))
                await stack.enter_async_context(self._materializer.lock_for((self._project_id, digest)))
            yield

    async def _store(self, counted: Mapping[str, Counted[Any]]) -> None:
        """Store counts by the digests of their metrics."""
        stored = await asyncio.to_thread(lambda: {digest: counts.to_stored() for digest, counts in counted.items()})
        small = {digest: one for digest, one in stored.items() if len(one.body) <= limits.KEPT_COUNT_BYTES.value}
        if small:
            async with self._database.write(durable=False, owner=self._project_id) as session:
                await CountRepository(session, self._project_id).store(small)

    async def remove_unused(self, used: Sequence[FactQuery[Any]], *, older_than: dt.timedelta = AGE_OF_REMOVAL) -> None:
        """Remove the series, facts and counts that not one of the metrics uses, a chunk at a time.

        Young ones stay: an edit may be undone, and not only results create them. Those of insights stay for a day.
        """
        before, asked_before = utc_now() - older_than, utc_now() - dt.timedelta(hours=limits.INSIGHT_HOURS.value)
        async with self._database.write(durable=False, owner=self._project_id) as session:
            await CountRepository(session, self._project_id).remove_others({metric.digest for metric in used}, before)
            await FactRepository(session, self._project_id).retire(_series_digests(used), before, asked_before)
        await self._remove_retired()
        await self.store.settle(self._project_id)

    async def note_insight(self, metrics: Sequence[FactQuery[Any]]) -> None:
        """Record that an insight asked for the series of some queries."""
        async with self._database.write(durable=False, owner=self._project_id) as session:
            await FactRepository(session, self._project_id).note_insight(_series_digests(metrics), utc_now())

    async def keep_only(self, used: Sequence[FactQuery[Any]], events_since: int) -> None:
        """Prepare the removal of events before a moment: record it, and remove all series but those of the metrics.

        The latter must have been brought up to date: their facts no longer need the events.
        """
        async with self._database.write(owner=self._project_id) as session:
            facts = FactRepository(session, self._project_id)
            await facts.note_removal(events_since)
            await facts.retire(_series_digests(used))
        await self._remove_retired()

    async def forget_breakdowns(self) -> None:
        """Remove the values of properties that breakdowns kept, with their facts; the next one reads events anew.

        Values get other numbers then: counts with the former ones are made again, see ``Counted.numbered_by``.
        """
        async with self._database.write(owner=self._project_id) as session:
            await FactRepository(session, self._project_id).retire_breakdowns()
        await self._remove_retired()

    async def _remove_retired(self) -> None:
        """Remove the retired series; before that, so that it is not left out after an interruption, their values."""
        async with self._database.read() as session:
            retired = await FactRepository(session, self._project_id).retired()
        done = not retired
        while not done:
            async with self._database.write(durable=False, owner=self._project_id) as session:
                values = ActorKeyRepository(session, self._project_id)
                await values.wait_for_users()
                kept = await FactRepository(session, self._project_id).broken_down()
                done = await values.forget_values(kept, CHUNK)
        for series_id in retired:
            done = False
            while not done:
                done = await self.store.remove_some(self._project_id, series_id, CHUNK)


def _series_digests(metrics: Sequence[FactQuery[Any]]) -> set[str]:
    return {one.digest for one in _series_of_all(metrics)}


def _series_of_all(metrics: Sequence[FactQuery[Any]]) -> list[SeriesDefinition]:
    return series_of([event_set for metric in metrics for event_set in metric.event_sets])


def _missing_events(metric: FactQuery[Any], series: MaterializedSeries) -> EventsRemoved | None:
    """Return why a metric cannot be counted, where it needs events that were removed before its series were created."""
    events_since = max((series.events_available_since[one.digest] for one in series_of(metric.event_sets)), default=0)
    if metric.needs_events_since >= events_since:
        return None
    rest_on_more()
    return EventsRemoved(events_since)


def _has_advanced(metric: FactQuery[Any], series: MaterializedSeries) -> bool:
    return any(one.digest in series.advanced for one in series_of(metric.event_sets))


def _is_unstored(metric: FactQuery[Any], series: MaterializedSeries) -> bool:
    """Whether facts of a metric are in memory only, where they are counted, but not found by person."""
    return any(one.digest in series.unstored for one in series_of(metric.event_sets))


async def _compared(metric: FactQuery[CountsT], counts: CountsT | EventsRemoved) -> CountsT | EventsRemoved:
    """Return what is compared of counts that were added up."""
    if metric.read_off is None or isinstance(counts, EventsRemoved):
        return counts
    compared: CountsT = await asyncio.to_thread(metric.read_off, counts)
    return compared


def _note_basis(metric: FactQuery[Any], series: MaterializedSeries, counted: Counted[Any]) -> None:
    """Say what the figures rest on that are made of counts."""
    if not metric.is_lasting:
        rest_on_more()
    due = min((fact.time for fact in counted.pending), default=None)
    ids = [(series.ids[one.digest], one) for one in series_of(metric.event_sets)]
    rest_on_series(ids, series.high_water_mark, due)
