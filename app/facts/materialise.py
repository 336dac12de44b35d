"""Keeping facts up with events."""

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.actors.repository import ActorKeyRepository
from app.database import Database
from app.events.repository import EventRepository
from app.facts.matching import EventRow, Match, SeriesMatcher
from app.facts.repository import FactRepository, StoredSeries
from app.facts.series import SeriesDefinition

# Events looked at in one transaction: long enough to be fast, short enough for SQLite's other writers to get a turn.
CHUNK = 10_000


@dataclass(frozen=True)
class MaterialisedSeries:
    """Series that are complete up to an event's sequence number (some may be further)."""

    high_water_mark: int
    ids: Mapping[str, int]  # by the digest of the definition


class Materialiser:
    """Reads the events after a series' watermark, stores the facts they make and moves the watermark, all at once.

    A new series starts at watermark 0, so looking back is the same code. Of several requests for one series the first
    does the work; inside a process the others wait without a connection, between processes the row lock decides.
    """

    def __init__(self, database: Database, chunk: int = CHUNK) -> None:
        self._database = database
        self._chunk = chunk
        self._turns: weakref.WeakValueDictionary[int, asyncio.Lock] = weakref.WeakValueDictionary()

    async def catch_up(self, project_id: int, definitions: Sequence[SeriesDefinition]) -> MaterialisedSeries:
        """Bring series up to the last committed event, creating those that do not exist."""
        series = await self._find_or_create(project_id, definitions)
        async with self._database.read() as session:
            high_water_mark = await EventRepository(session, project_id).high_water_mark()
        for stored in series.values():
            if stored.watermark < high_water_mark:
                await self._catch_up(project_id, stored, high_water_mark)
        return MaterialisedSeries(high_water_mark, {digest: stored.id for digest, stored in series.items()})

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

    async def _catch_up(self, project_id: int, series: StoredSeries, high_water_mark: int) -> None:
        matcher = SeriesMatcher(series.definition)
        async with self._turns.setdefault(series.id, asyncio.Lock()):
            while await self._step(project_id, series, matcher, high_water_mark):
                pass

    async def _step(self, project_id: int, series: StoredSeries, matcher: SeriesMatcher, high_water_mark: int) -> bool:
        """Work one chunk in; say whether there may be more."""
        async with self._database.write() as session:
            facts = FactRepository(session, project_id)
            watermark = await facts.lock(series.id)
            if watermark >= high_water_mark:
                return False
            names = series.definition.names
            rows: Sequence[EventRow] = await EventRepository(session, project_id).named_after(
                None if names is None else sorted(names), watermark, high_water_mark, self._chunk
            )
            matches = await asyncio.to_thread(_match, matcher, rows)
            if series.definition.actor_property is not None:
                actors = ActorKeyRepository(session, project_id)
                matches = await actors.with_actors(matches, series.definition.actor_property)
            await facts.append(series.id, matches)
            complete = len(rows) < self._chunk
            await facts.move_watermark(series.id, high_water_mark if complete else rows[-1][0])
        return not complete


def _match(matcher: SeriesMatcher, rows: Sequence[EventRow]) -> list[Match]:
    return list(matcher.match(rows))
