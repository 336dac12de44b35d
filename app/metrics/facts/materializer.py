"""Materialization: facts of series from the events after their watermarks."""

import asyncio
import contextlib
import math
import time
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeAlias

from app.common.errors import Unavailable
from app.common.progress import Progress
from app.common.recently_used import RecentlyUsed
from app.common.single_flight import SingleFlight
from app.db.database import Database
from app.events.repository import EventQueries
from app.metrics.facts.catching_up import CatchingUp, Goal
from app.metrics.facts.repository import FactRepository
from app.metrics.facts.series import SeriesDefinition
from app.metrics.facts.stored_series import SeriesGone, SeriesQueries, StoredSeries
from app.metrics.facts.stores import fact_store
from app.metrics.facts.unstored import UnstoredFacts, UnstoredSeries
from app.metrics.failures import CountingFailures

# Events per transaction: many, so that their facts share pages of the index of persons (which halves the cost of
# storing), yet few enough for memory and for other writers of SQLite.
CHUNK = 30_000
# From this many events on, the database makes the facts itself where it can. Fewer are sooner matched here, those of
# all series in one transaction: of 3,000 and 7,500 in 0.85 of the processor time on PostgreSQL.
DIRECT_FROM = 8_000
# Answers that a process keeps: most are some kilobytes, the report of a page of many days is a megabyte.
KEPT = 64
_PROJECTS = 1_000

Report: TypeAlias = Callable[
    [int, int], None
]  # gets the last event that was materialized, and the last event to materialize


@dataclass(frozen=True)
class MaterializedSeries:
    """Series that are complete up to an event's sequence number (some may be further).

    The mappings are by the digest of the definition. ``last_event_sequences`` holds the last event that may belong to a
    series; events before ``events_available_since`` may be missing, because they were removed. ``advanced`` are the
    digests of the series that were not complete before, and ``unstored`` the latest facts of some, that are not stored.
    """

    high_water_mark: int
    ids: Mapping[str, int]
    last_event_sequences: Mapping[str, int]
    events_available_since: Mapping[str, int]
    advanced: Set[str] = frozenset()
    unstored: Mapping[str, UnstoredSeries] = field(default_factory=dict)


class Materializer:
    """Reads the events after a series' watermark, stores their facts and moves the watermark.

    A new series starts at watermark 0, so backfilling is the same code. Of several requests for one series the first
    does the work; inside a process the others wait without a connection, between processes the row lock decides.

    Parameters
    ----------
    direct_from : int
        The number of events from which on the database makes the facts itself where it can.
    unstored_facts : int
        How many facts may be in memory while they are counted, and until they are stored. Call ``close`` at the end.
    """

    def __init__(
        self,
        database: Database,
        chunk: int = CHUNK,
        report: Report = lambda *_: None,
        direct_from: int = DIRECT_FROM,
        unstored_facts: int = 0,
    ) -> None:
        self._database = database
        self._facts = fact_store(database)
        self._chunk = chunk
        self._report = report
        self._direct_from = direct_from
        self._unstored = UnstoredFacts(database, unstored_facts)
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

    async def close(self) -> None:
        """End what goes on without a request, at the end of the process."""
        await self.shared.close()
        await self._unstored.close()

    async def catch_up(
        self, project_id: int, definitions: Sequence[SeriesDefinition], seconds: float = math.inf
    ) -> MaterializedSeries:
        """Bring series up to the last committed event, creating those that do not exist.

        Raises
        ------
        Unfinished
            When that takes longer than ``seconds``. What was done by then is kept.
        """
        return await self._catch_up_found(project_id, definitions, time.monotonic() + seconds, leaves_unstored=False)

    @contextlib.asynccontextmanager
    async def caught_up(
        self, project_id: int, definitions: Sequence[SeriesDefinition]
    ) -> AsyncIterator[MaterializedSeries]:
        """Bring series up to the last committed event, as ``catch_up`` does, and store the facts of many events later.

        Until the block ends they are in ``MaterializedSeries.unstored``; then they are stored while others go on.
        """
        series = await self._catch_up_found(project_id, definitions, math.inf, leaves_unstored=True)
        try:
            yield series
        finally:
            self._unstored.store_soon(series.unstored.values())

    async def _catch_up_found(
        self, project_id: int, definitions: Sequence[SeriesDefinition], deadline: float, *, leaves_unstored: bool
    ) -> MaterializedSeries:
        while True:
            with contextlib.suppress(SeriesGone):  # then they are created again
                return await self._try_to_catch_up(project_id, definitions, deadline, leaves_unstored=leaves_unstored)

    async def _try_to_catch_up(
        self, project_id: int, definitions: Sequence[SeriesDefinition], deadline: float, *, leaves_unstored: bool
    ) -> MaterializedSeries:
        series, high_water_mark = await self._find_or_create(project_id, definitions)
        names = {name for one in definitions for name in one.names or ()}
        last = await EventQueries(self._database, project_id).last_named(names)
        last_sequences = {
            digest: _last_sequence(stored.definition, last.by_name, high_water_mark)
            for digest, stored in series.items()
        }
        behind = {stored.id: stored for digest, stored in series.items() if stored.watermark < last_sequences[digest]}
        unstored: dict[int, UnstoredSeries] = {}
        if behind:
            so_far: dict[Hashable, tuple[int, int]] = {
                one.id: (one.watermark if one.id in behind else high_water_mark, high_water_mark)
                for one in series.values()
            }
            with self.progress.measuring(project_id, so_far):
                goal = Goal(project_id, high_water_mark, last.released_until, deadline, self._chunk, self._direct_from)
                needed = {stored.id: last_sequences[stored.definition.digest] for stored in behind.values()}
                unstored = await self._bring_up(goal, behind, needed, leaves_unstored=leaves_unstored)
        return MaterializedSeries(
            high_water_mark,
            {digest: stored.id for digest, stored in series.items()},
            last_sequences,
            {digest: stored.events_since for digest, stored in series.items()},
            frozenset(stored.definition.digest for stored in behind.values()),
            {behind[series_id].definition.digest: facts for series_id, facts in unstored.items()},
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

    async def _bring_up(
        self, goal: Goal, behind: Mapping[int, StoredSeries], needed: Mapping[int, int], *, leaves_unstored: bool
    ) -> dict[int, UnstoredSeries]:
        """Bring series up to the last event, and return those whose latest facts are in memory, by series.

        Parameters
        ----------
        needed
            The last event that may belong to each series.
        """
        async with self._locked(behind) as has_waited:
            in_memory = self._unstored.of_all(behind)
            usable = {one: facts for one, facts in in_memory.items() if leaves_unstored and facts.checked}
            done = {one: facts for one, facts in usable.items() if facts.until >= needed[one]}
            left = {one: series for one, series in behind.items() if one not in done}
            if not left:
                return done
            await self._unstored.store(left)
            watermarks: Mapping[int, int] = {one: series.watermark for one, series in left.items()}
            if has_waited or in_memory:
                watermarks = await self._watermarks(goal.project_id, left)
            try:
                await self._catch_up(goal, left, watermarks, self._unstored if leaves_unstored else None)
                await self._check(goal, left)
            except BaseException:  # also where nobody waits any more: what was made need not be made again
                self._unstored.store_soon(self._unstored.of_all(left).values())
                raise
            return done | self._unstored.of_all(left)

    async def _check(self, goal: Goal, series: Mapping[int, StoredSeries]) -> None:
        """Make facts in memory again whose series is elsewhere than when they were begun.

        Another process that was faster may have removed events before they were read here; and a database that was
        stopped at once may have lost the facts before these.
        """
        made = self._unstored.of_all(series)
        if not made:
            return
        watermarks = await self._watermarks(goal.project_id, made)
        moved = {one: series[one] for one, facts in made.items() if watermarks[one] != facts.after}
        self._unstored.drop(moved)
        for facts in made.values():
            facts.checked = True
        if moved:
            await self._catch_up(goal, moved, watermarks, None)

    async def _catch_up(
        self,
        goal: Goal,
        series: Mapping[int, StoredSeries],
        watermarks: Mapping[int, int],
        unstored: UnstoredFacts | None,
    ) -> None:
        def note(series_ids: Iterable[int], reached: int) -> None:
            for series_id in series_ids:
                self.progress.reach(goal.project_id, series_id, reached)
            self._report(reached, goal.until)

        behind = {one: watermarks[one] for one in series}
        work = CatchingUp(self._database, self._facts, goal, series, behind, note, unstored)
        await work.run(self._archived_ranges)

    @contextlib.asynccontextmanager
    async def _locked(self, series_ids: Iterable[int]) -> AsyncIterator[bool]:
        """Keep other requests of this process from making facts of the same series; yield whether that had to wait."""
        has_waited = False
        async with contextlib.AsyncExitStack() as locks:
            for series_id in sorted(series_ids):  # so that two requests cannot wait for each other
                lock = self.lock_for(series_id)
                has_waited |= lock.locked()
                await locks.enter_async_context(lock)
            yield has_waited

    async def _watermarks(self, project_id: int, series_ids: Collection[int]) -> dict[int, int]:
        found = dict(await SeriesQueries(self._database, project_id).watermarks(series_ids))
        if gone := set(series_ids) - found.keys():
            raise SeriesGone(gone)
        return found


def _last_sequence(definition: SeriesDefinition, last_by_name: Mapping[str, int], high_water_mark: int) -> int:
    """Return the sequence number of the last event that may belong to a series."""
    if definition.names is None:
        return high_water_mark
    return max((last_by_name[name] for name in definition.names), default=0)
