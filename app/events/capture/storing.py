"""Stores decoded events with their persons and groups, inside a transaction of the caller."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.projects.repository import IngestionProject
from app.common.json_text import append_members
from app.events.capture.decoding.events import CapturedEvent
from app.events.capture.group_commit import size_of
from app.events.repository import NO_PERSON, EventRepository, NewEvent
from app.people.cookieless.visitors import COOKIELESS
from app.people.groups.decoding import GROUP_IDENTIFY
from app.people.groups.repository import GroupRepository
from app.people.groups.service import GroupService
from app.people.persons.repository import PersonRepository
from app.people.persons.service import PersonService
from app.telemetry.prometheus import CAPTURED, Captured

_HOUR = 3_600_000_000  # in microseconds
_WRITTEN_TOGETHER = 2_500
_WRITTEN_SIZE = 2 * 1024 * 1024  # as of a group


async def store_events(session: AsyncSession, project: IngestionProject, captured: Sequence[CapturedEvent]) -> int:
    """Store the events that are not stored yet, with what they say of persons and groups; return their number."""
    stored_events = EventRepository(session, project.id)
    events = captured
    if len({event.uuid for event in captured}) < len(captured):  # repeated, or different events under one uuid
        events = [event for event in await stored_events.missing(captured, _with_uuid) if event is not None]
    events = await _store_groups(session, project.id, events)
    events, person_ids = await _store_persons(session, project.id, events)
    stored = 0
    for some in _pieces(events):
        await asyncio.sleep(0)
        stored += await stored_events.append(
            [
                NewEvent(
                    uuid=event.uuid,
                    name=event.name,
                    distinct_id=event.distinct_id,
                    person_id=person_ids[event.distinct_id],
                    time=event.time,
                    received_at=event.received_at,
                    properties=_with_address(event.properties, None if project.anonymize_ips else event.address),
                )
                for event in some
            ]
        )
    unread = Counter(event.name for event in events if event.is_time_unread) if stored else None
    if unread:
        await stored_events.count_unread_timestamps(unread, events[0].received_at // _HOUR)
    session.info[CAPTURED] = Captured(len(captured), stored, min(unread.total(), stored) if unread else 0)
    return stored


async def _store_persons(
    session: AsyncSession, project_id: int, events: Sequence[CapturedEvent]
) -> tuple[Sequence[CapturedEvent], Mapping[str, int]]:
    """Store what events say of persons; return the events that are not known to be stored, and the person ids."""
    persons = PersonService(PersonRepository(session, project_id))
    await persons.keep_from_erasure()
    person_ids = {COOKIELESS: NO_PERSON}
    of_persons = events
    if any(event.distinct_id == COOKIELESS for event in events):
        of_persons = [event for event in events if event.distinct_id != COOKIELESS]
    person_ids |= await persons.resolve_unchanged(of_persons)
    identity_events = [event for event in of_persons if event.distinct_id not in person_ids]
    if not identity_events:
        return events, person_ids
    await persons.lock()
    # A repeated event must not change persons again, so stored events are left out first.
    missing = await EventRepository(session, project_id).missing(identity_events, _with_uuid)
    replaced = iter(missing)
    kept = [next(replaced) if event.distinct_id not in person_ids else event for event in events]
    changed = await persons.apply([event for event in missing if event is not None])
    return [event for event in kept if event is not None], {**person_ids, **changed}


async def _store_groups(
    session: AsyncSession, project_id: int, events: Sequence[CapturedEvent]
) -> Sequence[CapturedEvent]:
    """Store the groups that events name; return the events, with the groups in their properties."""
    groups = GroupService(GroupRepository(session, project_id))
    properties = await groups.assign(events)
    describing = [event for event in events if event.name == GROUP_IDENTIFY]
    if describing:
        missing = await EventRepository(session, project_id).missing(describing, _with_uuid)
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


def _with_address(properties: str, address: str | None) -> str:
    """Return properties, as JSON text, with the address that the event came from."""
    if address is None:
        return properties
    return append_members(properties, _address_member(address))


@lru_cache(maxsize=1024)
def _address_member(address: str) -> str:
    return f'"$ip":{json.dumps(address)}'
