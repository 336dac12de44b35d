"""Resolves the persons of events, and reads persons."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Person
from app.people.persons.identity import IdentityEvent, IdentityGraph, PersonState
from app.people.persons.repository import PersonRepository
from app.properties.decoding import PropertyReader
from app.properties.filters import Group
from app.properties.matcher import compile_filter


@dataclass(frozen=True)
class PersonWithDistinctIds:
    person: Person
    distinct_ids: Sequence[str]


class PersonService:
    def __init__(self, persons: PersonRepository) -> None:
        self._persons = persons

    async def resolve_unchanged(self, events: Sequence[IdentityEvent]) -> dict[str, int]:
        """Return the person id of each distinct id whose person the events do not change.

        That is the common case, and needs no lock: if a person is merged meanwhile, the log of merges leads from the
        old id to the survivor. If an event may merge persons, nothing is resolved: the result depends on their order.
        """
        if any(event.alias is not None for event in events):
            return {}
        wanted = list({event.distinct_id for event in events})
        changing = [event for event in events if event.set or event.set_once or event.unset]
        if not changing:
            return await self._persons.ids(wanted)
        states = await self._persons.states(wanted)
        # Browsers repeat the origin of their person with every event: only the first one changes the person.
        for event in changing:
            if event.distinct_id in states:
                states[event.distinct_id].update(event)
        return {
            distinct_id: state.id for distinct_id, state in states.items() if state.id is not None and not state.changed
        }

    async def lock(self) -> None:
        """Wait until no other transaction changes identities of the project, and keep others waiting."""
        await self._persons.lock_identities()

    async def apply(self, events: Sequence[IdentityEvent]) -> dict[str, int]:
        """Apply events one after another; return the person id of each distinct id. Call ``lock`` first."""
        mentioned = {event.distinct_id for event in events} | {
            event.alias for event in events if event.alias is not None
        }
        known = await self._persons.states(list(mentioned))
        graph = IdentityGraph(known)
        persons: dict[str, PersonState] = {event.distinct_id: graph.apply(event) for event in events}
        await self._persons.store(graph.changes, {id(person): person for person in known.values()}.values())
        found = {}
        for distinct_id, person in persons.items():
            survivor = person.survivor()
            if survivor.id is None:
                raise ValueError(f"the person of {distinct_id!r} was not stored")
            found[distinct_id] = survivor.id
        return found

    async def page(
        self, distinct_id: str | None, limit: int, offset: int
    ) -> tuple[int, Sequence[PersonWithDistinctIds]]:
        count = await self._persons.count(distinct_id)
        persons = await self._persons.page(distinct_id, limit, offset)
        names = await self._persons.distinct_ids([person.id for person in persons])
        return count, [PersonWithDistinctIds(person, names[person.id]) for person in persons]

    def iter_properties(self) -> AsyncIterator[tuple[int, str]]:
        """Yield the id and the properties, as JSON text, of every person. Must be called inside a transaction."""
        return self._persons.properties()

    async def by_ids(self, person_ids: Sequence[int]) -> dict[int, Person]:
        """Return the current persons, by the person ids that events carry."""
        return await self._persons.by_ids(person_ids)

    async def sizes(self, person_ids: Sequence[int]) -> dict[int, int]:
        """Return the bytes of their properties."""
        return await self._persons.sizes(person_ids)


class PersonFilterService:
    """Finds the persons whose current properties pass a filter."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._persons = PersonRepository(session, project_id)

    async def matching(self, condition: Group) -> NDArray[np.int64]:
        """Return the ids of the persons that pass."""
        matcher = compile_filter(condition)
        reader = PropertyReader(matcher.keys)
        return np.fromiter(
            [
                person_id
                async for person_id, properties in self._persons.properties()
                if matcher.matches(reader.read(properties))
            ],
            dtype=np.int64,
        )
