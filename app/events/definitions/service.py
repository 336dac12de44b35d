"""Definitions of one project: kept up to date from its events, a batch at a time, and listed."""

import time
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from app.common import limits
from app.common.errors import NotFound
from app.common.single_flight import SingleFlight
from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.db.models import EventDefinition, PropertyDefinition, utc_now
from app.events.definitions.names import HIDDEN, Names
from app.events.definitions.repository import DefinitionRepository, EventChoice, PropertyChoice
from app.events.history import EventHistory
from app.events.repository import EventQueries
from app.people.groups.repository import GroupRepository

# Few enough that a step is short, and many enough that each name is written once for thousands of events.
_EVENTS_AT_A_TIME = 20_000


class DefinitionService:
    """It opens short transactions of its own. Requests that list names at once share the look through events."""

    def __init__(self, database: Database, project_id: int, shared: SingleFlight | None = None) -> None:
        self._database = database
        self._project_id = project_id
        self._shared = shared or SingleFlight()

    async def steps(self) -> AsyncIterator[None]:
        """Look through the events that came since, and pause after each batch. It can be interrupted and repeated."""
        until = await EventQueries(self._database, self._project_id).high_water_mark()
        while await self._take_step(until):
            yield

    async def catch_up(self, seconds: float) -> None:
        """Look through the events that came since, for some seconds."""
        await self._shared.result(("definitions", self._project_id), lambda: self._catch_up(seconds))

    async def _catch_up(self, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        async for _ in self.steps():
            if time.monotonic() >= ends_at:
                return

    async def _take_step(self, until: int) -> bool:
        """Add the names in the next events; return whether there may be more. Of several processes one adds them."""
        async with self._database.read() as session:
            reached = await DefinitionRepository(session, self._project_id).watermark()
            if reached >= until:
                return False
            group_types = await GroupRepository(session, self._project_id).type_indexes()
        rows, end = await EventHistory(self._database, self._project_id).named_after(
            None, reached, until, _EVENTS_AT_A_TIME
        )
        names = Names(to_microseconds(utc_now()), group_types)
        await names.add(rows)
        async with self._database.write(durable=False) as session:
            definitions = DefinitionRepository(session, self._project_id)
            await definitions.begin()
            if await definitions.watermark(for_update=True) == reached:
                await definitions.add(names, end)
        return True

    async def event_page(
        self, choice: EventChoice, limit: int, offset: int
    ) -> tuple[int, Sequence[tuple[EventDefinition, int]]]:
        """Return how many names of events there are, and some of them with their volume."""
        await self.catch_up(limits.DEFINITIONS_SECONDS.value)
        async with self._database.read() as session:
            definitions = DefinitionRepository(session, self._project_id)
            return await definitions.count_events(choice), await definitions.events(choice, limit, offset)

    async def property_page(
        self, choice: PropertyChoice, limit: int, offset: int
    ) -> tuple[int, Sequence[tuple[PropertyDefinition, bool]]]:
        """Return how many properties there are, and some of them with whether they are seen on the chosen events."""
        await self.catch_up(limits.DEFINITIONS_SECONDS.value)
        async with self._database.read() as session:
            definitions = DefinitionRepository(session, self._project_id)
            return await definitions.count_properties(choice), await definitions.properties(choice, limit, offset)

    async def property_names(self, subject: str, limit: int) -> Sequence[str]:
        """Return names of properties that mean something in filters: of events, of persons or of a type of groups."""
        _, found = await self.property_page(PropertyChoice(subject, excluded=HIDDEN), limit, 0)
        return [definition.name for definition, _ in found]

    async def event(self, identifier: UUID, since: int) -> tuple[EventDefinition, int]:
        async with self._database.read() as session:
            found = await DefinitionRepository(session, self._project_id).event(identifier, since)
        if found is None:
            raise NotFound
        return found

    async def property(self, identifier: UUID) -> PropertyDefinition:
        async with self._database.read() as session:
            found = await DefinitionRepository(session, self._project_id).property(identifier)
        if found is None:
            raise NotFound
        return found
