"""Stores captured events with their persons, in one transaction."""

import asyncio
import contextlib
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import lru_cache
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.service import AuthenticationService
from app.accounts.projects.repository import AccountRepository, IngestionProject
from app.common.errors import AuthenticationFailed, Unavailable, ValidationFailed
from app.common.json_text import append_members
from app.common.time_slices import TimeSlices
from app.common.timestamps import from_microseconds
from app.db.database import Database
from app.db.errors import DATABASE_ERRORS, is_data_error, is_transient_database_error
from app.db.models import Project
from app.events.capture.decoding.events import CapturedEvent
from app.events.capture.decoding.requests import CapturedBatch
from app.events.capture.group_commit import MAX_GROUP_SIZE, GroupCommit, size_of
from app.events.repository import NO_PERSON, EventRepository, NewEvent
from app.flags.evaluation.enrichment import EnrichmentService
from app.flags.evaluation.service import WHERE_TO_FIND_TOKENS
from app.people.cookieless.service import CookielessService
from app.people.cookieless.visitors import COOKIELESS
from app.people.groups.decoding import GROUP_IDENTIFY
from app.people.groups.repository import GroupRepository
from app.people.groups.service import GroupService
from app.people.persons.repository import PersonRepository
from app.people.persons.service import PersonService
from app.telemetry.prometheus import CAPTURED, Captured

# Smaller requests share commits; larger ones are written by themselves.
GROUPED_EVENTS = 100
_SLICE_SECONDS = 0.0005  # of decoding, so that a request that holds locks does not wait for another's whole batch
_HOUR = 3_600_000_000  # in microseconds
_WRITTEN_TOGETHER = 2_500
_WRITTEN_SIZE = 2 * 1024 * 1024  # as of a group

logger = logging.getLogger("abacus")


class CaptureService:
    """Opens a transaction only after the whole request was read, so that a slow client does not delay other writers.

    There is one instance for the process, because small requests share commits.
    """

    def __init__(self, database: Database, enrichment: EnrichmentService, cookieless: CookielessService) -> None:
        self._database = database
        self._enrichment = enrichment
        self._cookieless = cookieless
        self._group_commit = GroupCommit(self._store_under_token, _is_batch_wide)

    async def store(self, batch: CapturedBatch) -> None:
        """Store a batch under the project that its token names.

        Raises
        ------
        AuthenticationFailed
            With the 2022 codes ``missing_api_key``, ``invalid_api_key`` and ``invalid_personal_api_key``.
        PermissionDenied
            The personal API key lacks the scope ``event:write``.
        ValidationFailed
            An event is invalid, or the token is unknown and the project id is not a number: ``invalid_project``.
        PayloadTooLarge
            The events cost more than a request may.
        Unavailable
            The database is unavailable or busy.
        """
        if batch.is_large:
            await self._refuse_unknown(batch)
        captured = await _decode_in_slices(batch)
        if not batch.token:
            raise _token_is_missing()
        async with _reporting_errors():
            if batch.project_id:
                await self._store_beside_project_id(batch.token, batch.project_id, captured)
                return
            if any(event.visitor is not None for event in captured):
                project_id = await self._enrichment.find_project_id(batch.token)
                captured = await self._with_visitors(project_id, captured)
            events = await self._with_flags(batch.token, captured)
            if len(events) < GROUPED_EVENTS and size_of(events) < MAX_GROUP_SIZE:
                await self._group_commit.add(batch.token, events)
            else:
                await self._store_under_token(batch.token, events)

    async def _refuse_unknown(self, batch: CapturedBatch) -> None:
        """Look up the project of a large batch, so that only its clients can make the service decode events."""
        if not batch.token:
            raise _token_is_missing()
        async with _reporting_errors():
            if await self._enrichment.knows(batch.token):
                return
            if not batch.project_id:
                raise _token_is_unknown()
            await self._project_beside_key(batch.token, batch.project_id)

    async def _with_visitors(self, project_id: int | None, events: Sequence[CapturedEvent]) -> Sequence[CapturedEvent]:
        """Give visitors without cookies the distinct ids of their day; an unknown project is refused later."""
        found = []
        slices = TimeSlices()
        for event in events:
            distinct_id = None
            if event.visitor is not None and project_id is not None:
                moment = from_microseconds(event.time)
                distinct_id = await self._cookieless.distinct_id(project_id, event.visitor, moment)
            found.append(msgspec.structs.replace(event, distinct_id=distinct_id) if distinct_id else event)
            if slices.are_over():
                await slices.pause()
        return found

    async def _with_flags(self, token: str, events: Sequence[CapturedEvent]) -> Sequence[CapturedEvent]:
        """Add flags that browsers had not received yet: the first page view of a visit has none of its own."""
        enriched = await self._enrichment.enrich(token, events)
        return [
            event if properties is event.properties else msgspec.structs.replace(event, properties=properties)
            for event, properties in zip(events, enriched, strict=True)
        ]

    async def close(self) -> None:
        """Wait until all accepted events are written."""
        await self._group_commit.close()

    async def _store_under_token(self, token: str, captured: Sequence[CapturedEvent]) -> None:
        async with self._database.write() as session:
            project = await AccountRepository(session).find_ingestion_project(token)
            if project is None:
                raise _token_is_unknown()
            await self._store(session, project, captured)

    async def _store_beside_project_id(self, token: str, project_id: object, captured: Sequence[CapturedEvent]) -> None:
        async with self._database.read() as session:
            project = await AccountRepository(session).find_project_by_token(token)
        if project is None:
            project = await self._project_beside_key(token, project_id)
        captured = await self._with_visitors(project.id, captured)
        events = await self._with_flags(project.api_token, captured)
        async with self._database.write() as session:
            await self._store(session, IngestionProject(project.id, project.anonymize_ips), events)

    async def _project_beside_key(self, key: str, project_id: object) -> Project:
        authentication = AuthenticationService(self._database)
        return await authentication.project_beside_key(
            key, project_id, scope="event:write", code="invalid_personal_api_key"
        )

    async def _store(self, session: AsyncSession, project: IngestionProject, captured: Sequence[CapturedEvent]) -> None:
        stored_events = EventRepository(session, project.id)
        events = captured
        if len({event.uuid for event in captured}) < len(captured):  # repeated, or different events under one uuid
            events = [event for event in await stored_events.missing(captured, _with_uuid) if event is not None]
        events = await self._store_groups(session, project.id, events)
        events, person_ids = await self._store_persons(session, project.id, events)
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

    async def _store_persons(
        self, session: AsyncSession, project_id: int, events: Sequence[CapturedEvent]
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
        self, session: AsyncSession, project_id: int, events: Sequence[CapturedEvent]
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


async def _decode_in_slices(batch: CapturedBatch) -> Sequence[CapturedEvent]:
    """Decode events in short slices, or in a thread where a single one may take longer than a slice."""
    if batch.are_long:
        return await asyncio.to_thread(list, batch.events)
    slices = TimeSlices(_SLICE_SECONDS)
    are_over = slices.are_over
    decoded: list[CapturedEvent] = []
    for event in batch.events:
        decoded.append(event)
        if are_over():
            await slices.pause()
    return decoded


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


def _token_is_missing() -> AuthenticationFailed:
    return AuthenticationFailed(f"API key not provided. {WHERE_TO_FIND_TOKENS}", code="missing_api_key")


def _token_is_unknown() -> AuthenticationFailed:
    return AuthenticationFailed(f"Project API key invalid. {WHERE_TO_FIND_TOKENS}", code="invalid_api_key")


def _with_address(properties: str, address: str | None) -> str:
    """Return properties, as JSON text, with the address that the event came from."""
    if address is None:
        return properties
    return append_members(properties, _address_member(address))


@lru_cache(maxsize=1024)
def _address_member(address: str) -> str:
    return f'"$ip":{json.dumps(address)}'


def _is_batch_wide(error: Exception) -> bool:
    """Whether an error concerns all requests of a group: their shared token, or the database."""
    return isinstance(error, AuthenticationFailed | Unavailable) or is_transient_database_error(error)


@contextlib.asynccontextmanager
async def _reporting_errors() -> AsyncIterator[None]:
    """Ask clients to send events again where that can help, and not to where the database refuses the events."""
    try:
        yield
    except DATABASE_ERRORS as error:
        if is_transient_database_error(error):
            raise Unavailable(
                "Unable to store event. Please try again. If you are the owner of this app you can check the logs for "
                "further details.",
                code="server_error",
            ) from error
        if not is_data_error(error):
            raise
        logger.exception("events were refused, because the database cannot store them")
        raise ValidationFailed("Invalid payload: an event cannot be stored.", code="invalid_payload") from error
