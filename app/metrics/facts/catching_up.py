"""The way of some series from their watermarks to the last event, in the place that makes their facts fastest."""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from app.common.pieces import work_off
from app.common.recently_used import RecentlyUsed
from app.db.database import Database
from app.events.archive.repository import archived_events
from app.events.history import EventHistory
from app.events.repository import EventChunk
from app.metrics.facts.clickhouse_materialization import ArchivedMaterialization
from app.metrics.facts.direct_materialization import DirectMaterialization
from app.metrics.facts.matching import EventRow, Match, SeriesMatcher
from app.metrics.facts.stored_series import StoredSeries
from app.metrics.facts.stores import FactStore
from app.metrics.facts.unstored import UnstoredFacts, store_made

# Facts per transaction, if every event belongs to every series.
MATCHES = 300_000
# Where bytes end a chunk at less than this part of its rows, the next one is not read ahead.
_LARGE = 8
SECONDS_BETWEEN_REPORTS = 5.0
# A statement decides about the events of up to this many chunks.
_DIRECT_CHUNKS = 4
# Series, or ranges of events, that the database decides about beside another one.
MAX_HELPERS = 2
# Fewer facts than these are stored before they are counted: later they would be as soon read as found in memory, and
# to counts that are stored they can be added.
FEW = 20_000

logger = logging.getLogger("abacus")

# Gets series, and the last event whose facts are made.
Note: TypeAlias = Callable[[Iterable[int], int], None]


class Unfinished(Exception):
    """Series are not up to date yet, and the time for it is used up."""


@dataclass(frozen=True)
class Goal:
    """How far facts are to be made, and until when.

    Attributes
    ----------
    until : int
        The last event.
    released_until : int
        Up to this one, events have left the database.
    deadline : float
        In seconds of the monotonic clock; after it no further events are begun with.
    chunk, direct_from : int
        See ``Materializer``.
    """

    project_id: int
    until: int
    released_until: int
    deadline: float
    chunk: int
    direct_from: int


class CatchingUp:
    """Makes the facts of the events that some series are behind, and stores them, or leaves many of them in memory.

    Call it under the locks of the series.
    """

    def __init__(
        self,
        database: Database,
        store: FactStore,
        goal: Goal,
        series: Mapping[int, StoredSeries],
        watermarks: Mapping[int, int],
        note: Note,
        unstored: UnstoredFacts | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._goal = goal
        self._series = series
        self._matchers = {one: SeriesMatcher(series[one].definition) for one in sorted(series)}
        self._watermarks: MutableMapping[int, int] = dict(watermarks)
        self._tell = note
        self._unstored = unstored

    async def run(self, archived_ranges: RecentlyUsed[int, int]) -> None:
        """Bring all series up to the last event.

        Raises
        ------
        Unfinished
            When that takes longer than it may. What was done by then is kept.
        SeriesGone
            When a series was removed.
        """
        goal = self._goal
        lowest = min(self._watermarks.values())
        if self._store.is_beside_events:
            if lowest < goal.released_until:
                archived_events(self._database, goal.project_id)  # which are out of reach
            await self._decide_in_database()
        elif goal.until - lowest >= goal.direct_from:
            await self._make_in_clickhouse(archived_ranges)
        while behind := {one: reached for one, reached in self._watermarks.items() if reached < goal.until}:
            lowest = min(behind.values())
            # Series within one chunk are read together; the others join when these have caught up with them.
            together = [one for one, reached in behind.items() if reached <= lowest + goal.chunk]
            until = min([goal.until, *(behind[one] for one in behind.keys() - set(together))])
            await self._match({one: self._matchers[one] for one in together}, lowest, until)

    async def _decide_in_database(self) -> None:
        """Let the database make the facts of each series, as far as it can.

        It does so on several connections, each of which takes the place of an aggregation.
        """
        most = MAX_HELPERS if self._unstored is not None else min(MAX_HELPERS, len(self._series) - 1)
        with self._database.aggregation_slots.spare_slots(self._goal.project_id, most) as spare:
            turns = asyncio.Semaphore(1 + spare)
            await work_off([functools.partial(self._decide, one, turns) for one in self._series.values()], 1 + spare)

    async def _decide(self, series: StoredSeries, turns: asyncio.Semaphore) -> None:
        goal = self._goal
        materialization = DirectMaterialization(
            self._database,
            goal.project_id,
            self._matchers[series.id],
            turns,
            ahead=1 if self._unstored is None else 1 + MAX_HELPERS,
            first=goal.direct_from,
            largest=_DIRECT_CHUNKS * goal.chunk,
            chunk=goal.chunk,
        )
        unstored = self._unstored
        async with contextlib.aclosing(materialization.ranges(self._watermarks[series.id], goal.until)) as ranges:
            async for made in ranges:
                if unstored is not None and not unstored.add(goal.project_id, series, made):
                    await unstored.store([series.id])
                    unstored = None  # there is no room for the others either
                if unstored is None:
                    await store_made(self._database, goal.project_id, series.id, series.definition.digest, made)
                self._note([series.id], made.until)
        kept = None if unstored is None else unstored.of(series.id)
        if unstored is not None and kept is not None and (len(kept) < FEW or kept.until < goal.until):
            await unstored.store([series.id])

    async def _make_in_clickhouse(self, ranges: RecentlyUsed[int, int]) -> None:
        """Let ClickHouse make the facts of the events that it has, as far as it can."""
        if self._database.clickhouse is None:
            return
        goal = self._goal
        work = ArchivedMaterialization(self._database, self._database.clickhouse, goal.project_id, ranges)
        async with contextlib.aclosing(work.steps(self._matchers, self._watermarks, goal.until)) as steps:
            async for series_ids, reached in steps:
                self._note(series_ids, reached)

    async def _match(self, matchers: Mapping[int, SeriesMatcher], watermark: int, until: int) -> None:
        """Match events in Python, for several series at once. The next chunk is read while one is stored."""
        names, reported = _names(matchers.values()), time.monotonic()
        limit = min(self._goal.chunk, max(MATCHES // len(matchers), 1))
        reading: asyncio.Task[EventChunk] | None = None
        try:
            while watermark < until:
                chunk = await (reading or self._read(names, watermark, until, limit))
                watermark, reading = chunk.end, None
                if watermark < until and len(chunk.rows) >= limit // _LARGE:  # of large events one chunk is enough
                    reading = asyncio.create_task(self._read(names, watermark, until, limit))
                matches = await asyncio.to_thread(_matches, matchers, chunk.rows)
                await self._store.store(self._goal.project_id, matchers, matches, watermark)
                del chunk, matches
                self._note(matchers, watermark)
                if watermark < until and time.monotonic() > reported + SECONDS_BETWEEN_REPORTS:
                    reported = time.monotonic()
                    percent = watermark / until * 100
                    logger.info(
                        "project %d: materialized %.0f %% of events for %s", self._goal.project_id, percent, names
                    )
        finally:
            if reading is not None:
                reading.cancel()

    async def _read(self, names: Sequence[str] | None, watermark: int, until: int, limit: int) -> EventChunk:
        return await EventHistory(self._database, self._goal.project_id).named_after(names, watermark, until, limit)

    def _note(self, series_ids: Iterable[int], reached: int) -> None:
        """Note how far series are, and stop where the time is used up."""
        series_ids = list(series_ids)
        self._watermarks.update(dict.fromkeys(series_ids, reached))
        self._tell(series_ids, reached)
        if reached < self._goal.until and time.monotonic() > self._goal.deadline:
            raise Unfinished


def _names(matchers: Collection[SeriesMatcher]) -> Sequence[str] | None:
    names: set[str] = set()
    for matcher in matchers:
        if matcher.names is None:
            return None
        names.update(matcher.names)
    return sorted(names)


def _matches(matchers: Mapping[int, SeriesMatcher], rows: Sequence[EventRow]) -> dict[int, list[Match]]:
    return {series_id: list(matcher.match(rows)) for series_id, matcher in matchers.items()}
