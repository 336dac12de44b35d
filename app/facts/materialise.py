"""Keeping facts up with events."""

import asyncio
import contextlib
import weakref
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

from app.actors.repository import ActorKeyRepository
from app.database import Database
from app.events.repository import EventRepository
from app.facts.matching import EventRow, Match, SeriesMatcher
from app.facts.repository import FactRepository, SeriesGone, StoredSeries
from app.facts.series import SeriesDefinition

# Events looked at in one transaction: long enough to be fast, short enough for SQLite's other writers to get a turn.
CHUNK = 10_000


@dataclass(frozen=True)
class MaterialisedSeries:
    """Series that are complete up to an event's sequence number (some may be further)."""

    high_water_mark: int
    ids: Mapping[str, int]  # by the digest of the definition
    events_since: int  # what happened before this moment may be missing, because it had been removed


class Materialiser:
    """Reads the events after a series' watermark, stores the facts they make and moves the watermark, all at once.

    A new series starts at watermark 0, so looking back is the same code. Of several requests for one series the first
    does the work; inside a process the others wait without a connection, between processes the row lock decides.
    """

    def __init__(self, database: Database, chunk: int = CHUNK) -> None:
        self._database = database
        self._chunk = chunk
        self._turns: weakref.WeakValueDictionary[Hashable, asyncio.Lock] = weakref.WeakValueDictionary()

    def turn(self, work: Hashable) -> asyncio.Lock:
        """Return the lock under which a piece of work is done once, however many requests need it."""
        return self._turns.setdefault(work, asyncio.Lock())

    async def catch_up(self, project_id: int, definitions: Sequence[SeriesDefinition]) -> MaterialisedSeries:
        """Bring series up to the last committed event, creating those that do not exist."""
        while True:
            with contextlib.suppress(SeriesGone):  # then they are made again
                return await self._try_to_catch_up(project_id, definitions)

    async def _try_to_catch_up(self, project_id: int, definitions: Sequence[SeriesDefinition]) -> MaterialisedSeries:
        series = await self._find_or_create(project_id, definitions)
        async with self._database.read() as session:
            events = EventRepository(session, project_id)
            high_water_mark = await events.high_water_mark()
            last = await events.last_named({name for one in definitions for name in one.names or ()})
        behind = [
            stored for stored in series.values() if stored.watermark < _last(stored.definition, last, high_water_mark)
        ]
        if behind:  # or there is nothing to do, and nothing to write
            await self._catch_up(project_id, behind, high_water_mark)
        return MaterialisedSeries(
            high_water_mark,
            {digest: stored.id for digest, stored in series.items()},
            max((stored.events_since for stored in series.values()), default=0),
        )

    async def _find_or_create(
        self, project_id: int, definitions: Sequence[SeriesDefinition]
    ) -> dict[str, StoredSeries]:
        async with self._database.read() as session:
            found = await FactRepository(session, project_id).find(definitions)
        missing = [definition for definition in definitions if definition.digest not in found]
        if not missing:
            return found
        async with self._database.write() as session:
            facts = FactRepository(session, project_id)
            await facts.create(missing)
            return await facts.find(definitions)

    async def _catch_up(self, project_id: int, behind: Sequence[StoredSeries], high_water_mark: int) -> None:
        matchers = {series.id: SeriesMatcher(series.definition) for series in sorted(behind, key=lambda one: one.id)}
        async with contextlib.AsyncExitStack() as turns:
            for series_id in matchers:  # in the order of their ids, so that nobody waits for somebody who waits for him
                await turns.enter_async_context(self.turn(series_id))
            while matchers:
                complete = await self._step(project_id, matchers, high_water_mark)
                matchers = {series_id: matcher for series_id, matcher in matchers.items() if series_id not in complete}

    async def _step(
        self, project_id: int, matchers: Mapping[int, SeriesMatcher], high_water_mark: int
    ) -> Collection[int]:
        """Work a chunk into each series, all in one transaction; return those that are complete."""
        complete = set()
        async with self._database.write() as session:
            facts, events = FactRepository(session, project_id), EventRepository(session, project_id)
            watermarks = await facts.lock(list(matchers))
            for series_id, matcher in matchers.items():
                watermark = watermarks[series_id]
                rows: Sequence[EventRow] = await events.named_after(
                    matcher.names, watermark, high_water_mark, self._chunk
                )
                if rows:
                    matches = await asyncio.to_thread(_match, matcher, rows)
                    if matcher.actor_property is not None:
                        actors = ActorKeyRepository(session, project_id)
                        matches = await actors.with_actors(matches, matcher.actor_property)
                    await facts.append(series_id, matches)
                if len(rows) < self._chunk:
                    complete.add(series_id)
                reached = high_water_mark if series_id in complete else rows[-1][0]
                if reached > watermark:
                    await facts.move_watermark(series_id, reached)
        return complete


def _last(definition: SeriesDefinition, last: Mapping[str, int], high_water_mark: int) -> int:
    """Return the last event that a series may be interested in."""
    if definition.names is None:
        return high_water_mark
    return max((last[name] for name in definition.names), default=0)


def _match(matcher: SeriesMatcher, rows: Sequence[EventRow]) -> list[Match]:
    return list(matcher.match(rows))
