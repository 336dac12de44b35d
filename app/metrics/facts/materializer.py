"""Materialization: facts of series from the events after their watermarks."""

import asyncio
import contextlib
import functools
import logging
import math
import time
import weakref
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, MutableMapping, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

from app.common.errors import Unavailable
from app.common.pieces import work_off
from app.common.progress import Progress
from app.common.recently_used import RecentlyUsed
from app.common.single_flight import SingleFlight
from app.db.database import Database
from app.events.archive.repository import archived_events
from app.events.history import EventHistory
from app.events.repository import EventChunk, EventQueries
from app.metrics.facts.clickhouse_materialization import ArchivedMaterialization
from app.metrics.facts.direct_materialization import DirectMaterialization
from app.metrics.facts.matching import EventRow, Match, SeriesMatcher
from app.metrics.facts.repository import FactRepository
from app.metrics.facts.series import SeriesDefinition
from app.metrics.facts.stored_series import SeriesGone, SeriesQueries, StoredSeries
from app.metrics.facts.stores import fact_store
from app.metrics.failures import CountingFailures

# Events per transaction: many, so that their facts share pages of the index of persons (which halves the cost of
# storing), yet few enough for memory and for other writers of SQLite.
CHUNK = 30_000
# Facts per transaction, if every event belongs to every series.
MATCHES = 300_000
# Where bytes end a chunk at less than this part of its rows, the next one is not read ahead.
_LARGE = 8
SECONDS_BETWEEN_REPORTS = 5.0
# From this many events on, the database makes the facts itself where it can. Fewer are sooner matched here, those of
# all series in one transaction: of 3,000 and 7,500 in 0.85 of the processor time on PostgreSQL.
DIRECT_FROM = 8_000
# A statement makes the facts of up to this many chunks. It takes fewer where other writers would wait too long.
_DIRECT_CHUNKS = 4
# Series of which the database makes the facts beside another one.
MAX_HELPERS = 2
# Answers that a process keeps: most are some kilobytes, the report of a page of many days is a megabyte.
KEPT = 64
_PROJECTS = 1_000

logger = logging.getLogger("abacus")

Report: TypeAlias = Callable[
    [int, int], None
]  # gets the last event that was materialized, and the last event to materialize


@dataclass(frozen=True)
class MaterializedSeries:
    """Series that are complete up to an event's sequence number (some may be further).

    The mappings are by the digest of the definition. ``last_event_sequences`` holds the last event that may belong to a
    series; events before ``events_available_since`` may be missing, because they were removed. ``advanced`` are the
    digests of the series that were not complete before.
    """

    high_water_mark: int
    ids: Mapping[str, int]
    last_event_sequences: Mapping[str, int]
    events_available_since: Mapping[str, int]
    advanced: Set[str] = frozenset()


class Unfinished(Exception):
    """Series are not up to date yet, and the time for it is used up."""


class Materializer:
    """Reads the events after a series' watermark, stores their facts and moves the watermark.

    A new series starts at watermark 0, so backfilling is the same code. Of several requests for one series the first
    does the work; inside a process the others wait without a connection, between processes the row lock decides.
    """

    def __init__(
        self,
        database: Database,
        chunk: int = CHUNK,
        report: Report = lambda *_: None,
        direct_from: int = DIRECT_FROM,
    ) -> None:
        self._database = database
        self._facts = fact_store(database)
        self._chunk = chunk
        self._report = report
        self._direct_from = direct_from
        self.shared = SingleFlight()  # work that several requests of this process need at once
        self.kept = RecentlyUsed[str, object](KEPT)  # what requests asked for last, by what they asked
        self.progress = Progress()
        self.failures = CountingFailures()
        self.verdict_failures = CountingFailures()
        self._archived_ranges = RecentlyUsed[int, int](_PROJECTS)  # how many events ClickHouse works at, by project
        self._locks: weakref.WeakValueDictionary[Hashable, asyncio.Lock] = weakref.WeakValueDictionary()

    def lock_for(self, work: Hashable) -> asyncio.Lock:
        """Return the lock under which a piece of work is done by one request, while the others wait."""
        return self._locks.setdefault(work, asyncio.Lock())

    async def catch_up(
        self, project_id: int, definitions: Sequence[SeriesDefinition], seconds: float = math.inf
    ) -> MaterializedSeries:
        """Bring series up to the last committed event, creating those that do not exist.

        Raises
        ------
        Unfinished
            When that takes longer than ``seconds``. What was done by then is kept.
        """
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(SeriesGone):  # then they are created again
                return await self._try_to_catch_up(project_id, definitions, deadline)

    async def _try_to_catch_up(
        self, project_id: int, definitions: Sequence[SeriesDefinition], deadline: float
    ) -> MaterializedSeries:
        series, high_water_mark = await self._find_or_create(project_id, definitions)
        names = {name for one in definitions for name in one.names or ()}
        last = await EventQueries(self._database, project_id).last_named(names)
        last_sequences = {
            digest: _last_sequence(stored.definition, last.by_name, high_water_mark)
            for digest, stored in series.items()
        }
        behind = [stored for digest, stored in series.items() if stored.watermark < last_sequences[digest]]
        if behind:
            so_far: dict[Hashable, tuple[int, int]] = {
                one.id: (one.watermark if one in behind else high_water_mark, high_water_mark)
                for one in series.values()
            }
            with self.progress.measuring(project_id, so_far):
                await self._catch_up(project_id, behind, high_water_mark, last.released_until, deadline)
        return MaterializedSeries(
            high_water_mark,
            {digest: stored.id for digest, stored in series.items()},
            last_sequences,
            {digest: stored.events_since for digest, stored in series.items()},
            frozenset(stored.definition.digest for stored in behind),
        )

    async def _find_or_create(
        self, project_id: int, definitions: Sequence[SeriesDefinition]
    ) -> tuple[dict[str, StoredSeries], int]:
        """Return the series by digest, and the high-water mark of their events."""
        series = SeriesQueries(self._database, project_id)
        found, high_water_mark = await series.find_as_of(definitions)
        if missing := [definition for definition in definitions if definition.digest not in found]:
            async with self._database.write(owner=project_id) as session:
                await FactRepository(session, project_id).create(
                    missing, in_clickhouse=not self._facts.is_beside_events
                )
            found = await series.find(definitions)
        if gone := [definition.digest for definition in definitions if definition.digest not in found]:
            raise SeriesGone(gone)
        return self._within_reach(found), high_water_mark

    def _within_reach(self, found: dict[str, StoredSeries]) -> dict[str, StoredSeries]:
        if self._facts.is_beside_events and any(series.is_in_clickhouse for series in found.values()):
            raise Unavailable("Facts of this metric are in ClickHouse, which the settings do not name.")
        return found

    async def _catch_up(
        self,
        project_id: int,
        behind: Sequence[StoredSeries],
        high_water_mark: int,
        released_until: int,
        deadline: float,
    ) -> None:
        matchers = {series.id: SeriesMatcher(series.definition) for series in sorted(behind, key=lambda one: one.id)}
        async with contextlib.AsyncExitStack() as locks:
            has_waited = False
            for series_id in matchers:  # in the order of their ids, so that two requests cannot wait for each other
                lock = self.lock_for(series_id)
                has_waited |= lock.locked()
                await locks.enter_async_context(lock)
            watermarks = {series.id: series.watermark for series in behind}
            if has_waited:
                watermarks = dict(await SeriesQueries(self._database, project_id).watermarks(matchers))
            if self._facts.is_beside_events:
                if min(watermarks.values()) < released_until:
                    archived_events(self._database, project_id)  # which are out of reach
                await self._materialize_at_once(project_id, matchers, watermarks, high_water_mark, deadline)
            elif high_water_mark - min(watermarks.values()) >= self._direct_from:
                await self._materialize_archived(project_id, matchers, watermarks, high_water_mark, deadline)
            while watermarks := {one: reached for one, reached in watermarks.items() if reached < high_water_mark}:
                lowest = min(watermarks.values())
                # Series within one chunk are read together; the others join when these have caught up with them.
                together = [one for one, reached in watermarks.items() if reached <= lowest + self._chunk]
                until = min([high_water_mark, *(watermarks[one] for one in watermarks.keys() - set(together))])
                await self._materialize(project_id, {one: matchers[one] for one in together}, lowest, until, deadline)
                watermarks |= dict.fromkeys(together, until)

    async def _materialize_at_once(
        self,
        project_id: int,
        matchers: Mapping[int, SeriesMatcher],
        watermarks: MutableMapping[int, int],
        until: int,
        deadline: float,
    ) -> None:
        """Let the database make the facts of several series, and move their watermarks as far as it gets.

        PostgreSQL does so on several connections, each of which takes the place of an aggregation.
        """

        async def advance(series_id: int, matcher: SeriesMatcher) -> None:
            watermarks[series_id] = await self._materialize_directly(
                project_id, series_id, matcher, watermarks[series_id], until, deadline
            )

        pieces = [functools.partial(advance, *one) for one in matchers.items()]
        helpers = 0 if self._database.is_sqlite else min(MAX_HELPERS, len(pieces) - 1)
        with self._database.aggregation_slots.spare_slots(project_id, helpers) as spare:
            await work_off(pieces, 1 + spare)

    async def _materialize_archived(
        self,
        project_id: int,
        matchers: Mapping[int, SeriesMatcher],
        watermarks: MutableMapping[int, int],
        until: int,
        deadline: float,
    ) -> None:
        """Let ClickHouse make the facts of the events that it has, and move the watermarks as far as it gets."""
        if self._database.clickhouse is None:
            return
        work = ArchivedMaterialization(self._database, self._database.clickhouse, project_id, self._archived_ranges)
        async with contextlib.aclosing(work.steps(matchers, watermarks, until)) as steps:
            async for series_ids, reached in steps:
                watermarks.update(dict.fromkeys(series_ids, reached))
                self._note(project_id, series_ids, reached, until)
                if reached < until and time.monotonic() > deadline:
                    raise Unfinished

    async def _materialize_directly(
        self, project_id: int, series_id: int, matcher: SeriesMatcher, watermark: int, until: int, deadline: float
    ) -> int:
        """Let the database make the facts of a series, and return how far it got; the rest is matched here."""
        work = DirectMaterialization(
            self._database,
            project_id,
            series_id,
            matcher,
            first=self._direct_from,
            usual=self._chunk,
            largest=_DIRECT_CHUNKS * self._chunk,
        )
        async with contextlib.aclosing(work):
            while watermark < until and (found := await work.next_range(watermark, until)):
                if not await work.store(found):
                    await self._materialize(project_id, {series_id: matcher}, watermark, found.end, deadline)
                watermark = found.end
                self._note(project_id, [series_id], watermark, until)
                if watermark < until and time.monotonic() > deadline:
                    raise Unfinished
        return watermark

    async def _materialize(
        self, project_id: int, matchers: Mapping[int, SeriesMatcher], watermark: int, until: int, deadline: float
    ) -> None:
        """Bring several series up to an event. The next chunk is read while the current one is stored."""
        names, reported = _names(matchers.values()), time.monotonic()
        limit = min(self._chunk, max(MATCHES // len(matchers), 1))
        reading: asyncio.Task[EventChunk] | None = None
        try:
            while watermark < until:
                chunk = await (reading or self._read(project_id, names, watermark, until, limit))
                watermark, reading = chunk.end, None
                if watermark < until and len(chunk.rows) >= limit // _LARGE:  # of large events one chunk is enough
                    reading = asyncio.create_task(self._read(project_id, names, watermark, until, limit))
                await self._store(project_id, matchers, chunk.rows, watermark)
                del chunk
                self._note(project_id, matchers, watermark, until)
                if watermark < until and time.monotonic() > deadline:
                    raise Unfinished
                if watermark < until and time.monotonic() > reported + SECONDS_BETWEEN_REPORTS:
                    reported = time.monotonic()
                    percent = watermark / until * 100
                    logger.info("project %d: materialized %.0f %% of events for %s", project_id, percent, names)
        finally:
            if reading is not None:
                reading.cancel()

    def _note(self, project_id: int, series_ids: Iterable[int], watermark: int, until: int) -> None:
        for series_id in series_ids:
            self.progress.reach(project_id, series_id, watermark)
        self._report(watermark, until)

    async def _read(
        self, project_id: int, names: Sequence[str] | None, watermark: int, until: int, limit: int
    ) -> EventChunk:
        return await EventHistory(self._database, project_id).named_after(names, watermark, until, limit)

    async def _store(
        self, project_id: int, matchers: Mapping[int, SeriesMatcher], rows: Sequence[EventRow], reached: int
    ) -> None:
        """Store the facts of the next events, and move the watermarks."""
        matches = await asyncio.to_thread(_match, matchers, rows)
        await self._facts.store(project_id, matchers, matches, reached)


def _last_sequence(definition: SeriesDefinition, last_by_name: Mapping[str, int], high_water_mark: int) -> int:
    """Return the sequence number of the last event that may belong to a series."""
    if definition.names is None:
        return high_water_mark
    return max((last_by_name[name] for name in definition.names), default=0)


def _names(matchers: Collection[SeriesMatcher]) -> Sequence[str] | None:
    names: set[str] = set()
    for matcher in matchers:
        if matcher.names is None:
            return None
        names.update(matcher.names)
    return sorted(names)


def _match(matchers: Mapping[int, SeriesMatcher], rows: Sequence[EventRow]) -> dict[int, list[Match]]:
    return {series_id: list(matcher.match(rows)) for series_id, matcher in matchers.items()}
