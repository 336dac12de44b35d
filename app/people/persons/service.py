"""Resolves the persons of events, and reads persons."""

import functools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence, Set
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from app.common.errors import PayloadTooLarge
from app.common.limits import CHANGED_PERSON_BYTES, PERSON_PROPERTY_BYTES
from app.common.time_slices import TimeSlices
from app.db.bulk import chunks
from app.db.models import Person
from app.people.persons.identity import IdentityGraph, PersonState
from app.people.persons.known import KnownPersons, SentEvent
from app.people.persons.origin import initial_names
from app.people.persons.repository import PersonRepository
from app.people.properties import read_properties
from app.people.refusals import report_left_out, report_refused_merges
from app.properties.decoding import PropertyReader
from app.properties.filters import Group
from app.properties.matcher import compile_filter
from app.properties.text import text_form

_EVENTS_IN_A_SLICE = 500
_FEW_PERSONS = 32  # which are in memory at a time, however large they are
_person_bytes = attrgetter("person_bytes")
_RUN_BYTES = _FEW_PERSONS * PERSON_PROPERTY_BYTES.value


class PersonService:
    """Bound to one project; with ``known``, persons that were seen before are not read again."""

    def __init__(self, persons: PersonRepository, known: KnownPersons | None = None) -> None:
        self._persons = persons
        self._known = known

    async def keep_from_erasure(self) -> None:
        """Keep persons from being erased until the transaction ends. Call this before events are resolved.

        Otherwise an event could be stored for a person that has just been erased.
        """
        await self._persons.keep_from_erasure()

    async def resolve_unchanged(self, events: Sequence[SentEvent]) -> dict[str, int]:
        """Return the person id of each distinct id whose person the events do not change.

        That is the common case, and needs no lock: if a person is merged meanwhile, the log of merges leads from the
        old id to the survivor. If an event may merge persons, nothing is resolved: the result depends on their order.
        """
        if self._known is None:
            return await self._resolve(events)
        ids, without_profile = await self._ids(self._known, _mentioned(events))
        settled = self._known.unchanged(events, ids, without_profile)
        others = [event for event in events if event.distinct_id not in settled]
        if all(event.alias is None for event in others):  # of persons that are new there is nothing to read
            others = [event for event in others if event.distinct_id in ids]
        return settled | await self._resolve(others) if others else settled

    async def _ids(self, known: KnownPersons, names: Set[str]) -> tuple[dict[str, int], set[str]]:
        """Return what ``PersonRepository.ids`` does, where only what is not known is read."""
        known.discard()  # what an attempt noted that was rolled back
        before, changes = known.changes, await self._persons.changes()
        merged: Iterable[int] = ()
        if before is not None and before.last_merge < changes.last_merge:
            merged = (await self._persons.merges(before.last_merge)).merged.tolist()
        known.follow(changes, merged)
        ids = known.ids(names)
        if len(ids) == len(names):
            return ids, set()
        found, without_profile = await self._persons.ids([name for name in names if name not in ids])
        known.note_ids(found, without_profile)
        return ids | found, without_profile

    async def _resolve(self, events: Sequence[SentEvent]) -> dict[str, int]:
        if any(event.alias is not None for event in events):
            return {}
        if not any(event.may_change_person for event in events):
            ids, without_profile = await self._persons.ids(list({event.distinct_id for event in events}))
            if without_profile:
                for event in events:
                    if event.writes_profile and event.distinct_id in without_profile:
                        ids.pop(event.distinct_id, None)
            return ids
        if self._known is not None:
            return await self._resolve_by_values(events)
        return await self._resolve_by_names(events)

    async def _resolve_by_names(self, events: Sequence[SentEvent]) -> dict[str, int]:
        """Resolve by the names of properties: most events repeat the origin of their person, and say nothing else."""
        names = {event.distinct_id for event in events}
        stored = {one.distinct_id: one for one in await self._persons.persons(list(names))}
        changed: set[int] = set()
        compared: set[int] = set()
        # Known for these events only: a value of a person who is erased later must not stay in the process.
        property_names = functools.cache(_property_names)
        slices = TimeSlices()
        # Most persons have the origin of any of the events, so that these need not be compared one by one.
        of_any_event = initial_names(event.sent_origin for event in events)
        complete: set[int] = set()
        for persons in chunks(list(stored.values()), _EVENTS_IN_A_SLICE):
            complete |= {one.id for one in persons if one.document and property_names(one.document) >= of_any_event}
            if slices.are_over():
                await slices.pause()
        for some in chunks(events, _EVENTS_IN_A_SLICE):
            for event in some:
                person = stored.get(event.distinct_id)
                if person is None or not event.writes_profile:
                    continue
                if not person.has_profile:
                    changed.add(person.id)
                elif not event.may_change_person:
                    continue
                elif event.person_bytes or event.campaign or person.document is None:
                    compared.add(person.id)
                elif person.id not in complete and not property_names(person.document).issuperset(event.origin):
                    changed.add(person.id)
            if slices.are_over():
                await slices.pause()
        compared -= changed
        found = {name: one.id for name, one in stored.items() if one.id not in changed and one.id not in compared}
        if not compared:
            return found
        of_compared = {name for name, one in stored.items() if one.id in compared}
        return found | await self._resolve_by_values([one for one in events if one.distinct_id in of_compared])

    async def _resolve_by_values(self, events: Sequence[SentEvent]) -> dict[str, int]:
        found: dict[str, int] = {}
        async for run, states in self._runs(events, {event.distinct_id for event in events}):
            slices = TimeSlices()
            for event in run:
                state = states.get(event.distinct_id)
                if state is not None and (event.may_change_person or not state.has_profile):
                    state.update(event)
                    if slices.are_over():
                        await slices.pause()
            unchanged = {distinct_id: state for distinct_id, state in states.items() if not state.changed}
            for distinct_id, state in unchanged.items():
                if state.id is not None:
                    found[distinct_id] = state.id
                    report_left_out(state.document, "person", self._persons.project_id)
            if self._known is not None:
                self._known.note(run, unchanged)
        return found

    async def lock(self) -> None:
        """Wait until no other transaction changes identities of the project, and keep others waiting."""
        await self._persons.lock_identities()

    async def apply(self, events: Sequence[SentEvent]) -> dict[str, int]:
        """Apply events one after another; return the person id of each distinct id. Call ``lock`` first.

        Raises
        ------
        PayloadTooLarge
            The persons that the events change have too many properties together.
        """
        found: dict[str, int] = {}
        async for run, known in self._runs(events, _mentioned(events)):
            found |= await self._apply(run, known)
        return found

    async def _apply(self, events: Sequence[SentEvent], known: Mapping[str, PersonState]) -> dict[str, int]:
        if known and any(event.alias is not None for event in events):
            await self._persons.count_ids(known.values())
        graph = IdentityGraph(known)
        slices = TimeSlices()
        persons: dict[str, PersonState] = {}
        for event in events:
            persons[event.distinct_id] = graph.apply(event)
            if slices.are_over():
                await slices.pause()
        await self._persons.store(graph.changes, {id(person): person for person in known.values()}.values())
        for person in {id(person): person for person in persons.values()}.values():
            report_left_out(person.document, "person", self._persons.project_id)
        report_refused_merges(graph.changes.refused, self._persons.project_id)
        found = {}
        for distinct_id, person in persons.items():
            survivor = person.survivor()
            if survivor.id is None:
                raise ValueError(f"the person of {distinct_id!r} was not stored")
            found[distinct_id] = survivor.id
        if self._known is not None:
            self._known.note(events, {distinct_id: person.survivor() for distinct_id, person in persons.items()})
        return found

    async def _runs(
        self, events: Sequence[SentEvent], names: Set[str]
    ) -> AsyncIterator[tuple[Sequence[SentEvent], dict[str, PersonState]]]:
        """Yield events in runs, with the persons of each, that hold few properties in memory; nearly always it is one.

        Where no event joins persons, those of one person come together, so that the person is read once.
        """
        mentioned = list(names)
        is_certainly_small = sum(map(_person_bytes, events)) <= _RUN_BYTES
        if is_certainly_small and len(mentioned) <= _FEW_PERSONS:
            yield events, await self._persons.states(mentioned)
            return
        states, large = await self._persons.small_states(mentioned)
        if is_certainly_small and not large:
            yield events, states
            return
        del states
        if all(event.alias is None for event in events):
            events = sorted(events, key=lambda event: event.distinct_id)
        for run in _cut(events, large):
            yield run, await self._persons.states(list(_mentioned(run)))

    def iter_properties(self) -> AsyncIterator[tuple[int, str]]:
        """Yield the id and the properties, as JSON text, of every person. Must be called inside a transaction."""
        return self._persons.properties()

    async def by_ids(self, person_ids: Sequence[int]) -> dict[int, Person]:
        """Return the current persons, by the person ids that events carry."""
        return await self._persons.by_ids(person_ids)

    async def documents(self, person_ids: Sequence[int]) -> dict[int, str]:
        """Return their properties, as JSON text."""
        return await self._persons.documents(person_ids)

    async def sizes(self, person_ids: Sequence[int]) -> dict[int, int]:
        """Return the bytes of their properties."""
        return await self._persons.sizes(person_ids)


class PersonFilterService:
    """Finds the persons whose current properties pass a filter."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._persons = PersonRepository(session, project_id)

    async def matching(self, condition: Group, among: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of the persons that pass, of those with the ids ``among``. Needs a transaction."""
        matcher = compile_filter(condition)
        reader = PropertyReader(matcher.keys)
        return np.fromiter(
            [
                person_id
                async for person_id, properties in self._persons.properties(np.unique(among).tolist())
                if matcher.matches(reader.read(properties))
            ],
            dtype=np.int64,
        )

    async def values(self, name: str) -> AsyncIterator[tuple[int, str]]:
        """Yield the ids of the persons that have a property, with its value as a text."""
        reader = PropertyReader([name])
        async for person_id, properties in self._persons.properties():
            if text := text_form(reader.read(properties).get(name)):
                yield person_id, text


def _property_names(document: str) -> frozenset[str]:
    return frozenset(read_properties(document))


def _mentioned(events: Iterable[SentEvent]) -> set[str]:
    mentioned = {event.distinct_id for event in events}
    return mentioned.union(event.alias for event in events if event.alias is not None)


def _cut(events: Sequence[SentEvent], large: Mapping[str, int]) -> Iterator[Sequence[SentEvent]]:
    """Cut events into runs, each with few properties: sent ones, and those of persons who have many, of given sizes."""
    run: list[SentEvent] = []
    read: set[str] = set()
    size = total = 0
    for event in events:
        names = {event.distinct_id, event.alias or event.distinct_id} & large.keys()
        added = event.person_bytes + sum(large[name] for name in names - read)
        if run and size + added > _RUN_BYTES:
            yield run
            run, read, size = [], set(), 0
            added = event.person_bytes + sum(large[name] for name in names)
        run.append(event)
        total += added
        if total > CHANGED_PERSON_BYTES.value:
            raise PayloadTooLarge(CHANGED_PERSON_BYTES.detail)
        read |= names
        size += added
    yield run
