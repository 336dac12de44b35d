"""Takes the events of requests to the project of their token, and stores them in transactions."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

import msgspec

from app.accounts.auth.service import AuthenticationService
from app.accounts.projects.repository import AccountRepository, IngestionProject
from app.common.errors import AuthenticationFailed, Unavailable, ValidationFailed
from app.common.time_slices import TimeSlices
from app.common.timestamps import from_microseconds
from app.db.database import Database
from app.db.errors import DATABASE_ERRORS, is_data_error, is_transient_database_error
from app.db.models import Project
from app.events.capture.decoding.events import CapturedEvent
from app.events.capture.decoding.requests import CapturedBatch
from app.events.capture.group_commit import MAX_GROUP_SIZE, GroupCommit, size_of
from app.events.capture.storing import store_events
from app.flags.evaluation.enrichment import EnrichmentService
from app.flags.evaluation.service import WHERE_TO_FIND_TOKENS
from app.people.cookieless.service import CookielessService

# Smaller requests share commits; larger ones are written by themselves.
GROUPED_EVENTS = 100
_SLICE_SECONDS = 0.0005  # of decoding, so that a request that holds locks does not wait for another's whole batch

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
        async with self._database.write(owner=token) as session:
            project = await AccountRepository(session).find_ingestion_project(token)
            if project is None:
                raise _token_is_unknown()
            await store_events(session, project, captured)

    async def _store_beside_project_id(self, token: str, project_id: object, captured: Sequence[CapturedEvent]) -> None:
        async with self._database.read() as session:
            project = await AccountRepository(session).find_project_by_token(token)
        if project is None:
            project = await self._project_beside_key(token, project_id)
        captured = await self._with_visitors(project.id, captured)
        events = await self._with_flags(project.api_token, captured)
        async with self._database.write(owner=project.api_token) as session:
            await store_events(session, IngestionProject(project.id, project.anonymize_ips), events)

    async def _project_beside_key(self, key: str, project_id: object) -> Project:
        authentication = AuthenticationService(self._database)
        return await authentication.project_beside_key(
            key, project_id, scope="event:write", code="invalid_personal_api_key"
        )


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


def _token_is_missing() -> AuthenticationFailed:
    return AuthenticationFailed(f"API key not provided. {WHERE_TO_FIND_TOKENS}", code="missing_api_key")


def _token_is_unknown() -> AuthenticationFailed:
    return AuthenticationFailed(f"Project API key invalid. {WHERE_TO_FIND_TOKENS}", code="invalid_api_key")


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
