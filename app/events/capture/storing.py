"""Stores decoded events with their persons and groups, inside a transaction of the caller."""

import asyncio
import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.projects.repository import IngestionProject
from app.common.json_text import append_members
from app.events.appending.repository import NewEvent, NewEventRepository
from app.events.capture.decoding.events import CapturedEvent
from app.events.capture.group_commit import size_of
from app.events.repository import NO_PERSON
from app.people.cookieless.visitors import COOKIELESS
from app.people.erased_persons.repository import ErasedPersonRepository
from app.people.groups.decoding import GROUP_IDENTIFY
from app.people.groups.repository import GroupRepository
from app.people.groups.service import GroupService
from app.people.persons.known import KnownPersons
from app.people.persons.repository import PersonRepository
from app.people.persons.service import PersonService
from app.telemetry.prometheus import CAPTURED, Captured

_HOUR = 3_600_000_000  # in microseconds
_WRITTEN_TOGETHER = 2_500
_WRITTEN_SIZE = 2 * 1024 * 1024  # as of a group


class ResolvedEvents(NamedTuple):
    """Events, each once, and the person ids of their distinct ids when ``erased`` persons had been erased."""

    events: Sequence[CapturedEvent]
    person_ids: Mapping[str, int]
    erased: int = 0


async def store_events(session: AsyncSession, project: IngestionProject, captured: Sequence[CapturedEvent]) -> int:
    """Store the events that are not stored yet, with what they say of persons and groups; return their number."""
    events = await _each_once(session, project.id, captured)
    events = await _store_groups(session, project.id, events)
    resolved = await _store_persons(session, project.id, events, None)
    return await _append(session, project, resolved, len(captured))


async def resolve_persons(
    session: AsyncSession, project_id: int, captured: Sequence[CapturedEvent], known: KnownPersons
) -> ResolvedEvents:
    """Store what events say of persons, before ``store_resolved`` stores the events in another transaction."""
    resolved = await _store_persons(session, project_id, await _each_once(session, project_id, captured), known)
    return resolved._replace(erased=await ErasedPersonRepository(session, project_id).count())


async def store_resolved(session: AsyncSession, project: IngestionProject, resolved: ResolvedEvents) -> int:
    """Store the events that are not stored yet, with what they say of groups; return their number.

    Raises
    ------
    PersonsErasedError
        A person was erased since these were resolved: resolve them again.
    """
    await PersonRepository(session, project.id).keep_from_erasure()
    if await ErasedPersonRepository(session, project.id).count() != resolved.erased:
        raise PersonsErasedError
    events = await _store_groups(session, project.id, resolved.events)
    return await _append(session, project, resolved._replace(events=events), len(events))


class PersonsErasedError(Exception):
    """A person was erased after it was resolved."""


async def _each_once(
    session: AsyncSession, project_id: int, captured: Sequence[CapturedEvent]
) -> Sequence[CapturedEvent]:
    if len({event.uuid.int for event in captured}) == len(captured):  # numbers hash faster
        return captured
    # Some are repeated, or different events under one uuid.
    missing = await NewEventRepository(session, project_id).missing(captured, _with_uuid)
    return [event for event in missing if event is not None]


async def _append(session: AsyncSession, project: IngestionProject, resolved: ResolvedEvents, captured: int) -> int:
    stored_events = NewEventRepository(session, project.id)
    events, person_ids, _ = resolved
    stored = 0
    member_of = functools.cache(_address_member)  # for these events only: addresses must not stay in the process
    for some in _pieces(events):
        await asyncio.sleep(0)
        stored += await stored_events.append(
            [
                NewEvent(  # by position, which takes half as long
                    event.uuid,
                    event.name,
                    event.distinct_id,
                    person_ids[event.distinct_id],
                    event.time,
                    event.received_at,
                    event.properties
                    if project.anonymize_ips or event.address is None
                    else append_members(event.properties, member_of(event.address)),
                )
                for event in some
            ]
        )
    unread = Counter(event.name for event in events if event.is_time_unread) if stored else None
    if unread:
        await stored_events.count_unread_timestamps(unread, events[0].received_at // _HOUR)
    session.info[CAPTURED] = Captured(captured, stored, min(unread.total(), stored) if unread else 0)
    return stored


async def _store_persons(
    session: AsyncSession, project_id: int, events: Sequence[CapturedEvent], known: KnownPersons | None
) -> ResolvedEvents:
    """Store what events say of persons; return the events that are not known to be stored, and the person ids."""
    persons = PersonService(PersonRepository(session, project_id), known)
    await persons.keep_from_erasure()
    person_ids = {COOKIELESS: NO_PERSON}
    of_persons = events
    if any(event.distinct_id == COOKIELESS for event in events):
        of_persons = [event for event in events if event.distinct_id != COOKIELESS]
    person_ids |= await persons.resolve_unchanged(of_persons)
    identity_events = [event for event in of_persons if event.distinct_id not in person_ids]
    if not identity_events:
        return ResolvedEvents(events, person_ids)
    await persons.lock()
    # A repeated event must not change persons again, so stored events are left out first.
    missing = await NewEventRepository(session, project_id).missing(identity_events, _with_uuid)
    replaced = iter(missing)
    kept = [next(replaced) if event.distinct_id not in person_ids else event for event in events]
    changed = await persons.apply([event for event in missing if event is not None])
    return ResolvedEvents([event for event in kept if event is not None], {**person_ids, **changed})


async def _store_groups(
    session: AsyncSession, project_id: int, events: Sequence[CapturedEvent]
) -> Sequence[CapturedEvent]:
    """Store the groups that events name; return the events, with the groups in their properties."""
    groups = GroupService(GroupRepository(session, project_id))
    properties = await groups.assign(events)
    describing = [event for event in events if event.name == GROUP_IDENTIFY]
    if describing:
        missing = await NewEventRepository(session, project_id).missing(describing, _with_uuid)
        await groups.describe([event for event in missing if event is not None])
    if not properties:
        return events
    return [
        msgspec.structs.replace(event, properties=properties[event.uuid]) if event.uuid in properties else event
        for event in events
    ]


def _with_uuid(event: CapturedEvent, uuid: UUID) -> CapturedEvent:
    return msgspec.structs.replace(event, uuid=uuid)


def _pieces(events: Sequence[CapturedEvent]) -> Iterator[Sequence[CapturedEvent]]:
    """Cut events into pieces that are written together; their texts are copied on the way."""
    if len(events) <= _WRITTEN_TOGETHER and size_of(events) <= _WRITTEN_SIZE:
        yield events
        return
    piece: list[CapturedEvent] = []
    size = 0
    for event in events:
        piece.append(event)
        size += len(event.properties)
        if size > _WRITTEN_SIZE or len(piece) == _WRITTEN_TOGETHER:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _address_member(address: str) -> str:
    """Return the member that says where an event came from."""
    return f'"$ip":{json.dumps(address)}'
