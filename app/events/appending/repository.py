"""What is appended to the events of the database: each of them once."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import Integer, Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.advisory_locks import ProjectLock, lock_project
from app.db.bulk import insert_missing_rows
from app.db.compiled_queries import fetch_within, is_among
from app.db.models import Event, UnreadTimestamp
from app.db.upserts import insert_or_add
from app.events.uuids import uuid_beside

# What makes an event the same as another one with its uuid: the name and the distinct id.
EventKey: TypeAlias = tuple[str, str]


class _Sent(Protocol):
    @property
    def uuid(self) -> UUID: ...
    @property
    def name(self) -> str: ...
    @property
    def distinct_id(self) -> str: ...


SentEvent = TypeVar("SentEvent", bound=_Sent)


class NewEvent(NamedTuple):
    """An event to store: times in microseconds since 1970 UTC, properties as JSON text."""

    uuid: UUID
    name: str
    distinct_id: str
    person_id: int
    time: int
    received_at: int
    properties: str


_COLUMNS = ("project_id", *NewEvent._fields)


@functools.cache
def _stored_query(dialect_name: str) -> Select[UUID, str, str]:
    is_stored = is_among(Event.uuid, "uuids", dialect_name)
    return select(Event.uuid, Event.name, Event.distinct_id).where(
        Event.project_id == bindparam("project_id", type_=Integer), is_stored
    )


class NewEventRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def append(self, events: Sequence[NewEvent]) -> int:
        """Store the events that are not stored yet; return their number.

        An event is the same as another one if its uuid, name and distinct id are. One whose uuid another event uses
        gets a uuid of its own: see ``uuid_beside``.
        """
        await lock_project(self._session, ProjectLock.EVENT_APPEND, self._project_id, shared=True)
        added = await self._insert(events)
        if added == len(events):
            return added
        # Some were stored before, or have the uuid of another event, which a concurrent request may just have stored.
        missing = await self.missing(events, lambda event, uuid: event._replace(uuid=uuid))
        return added + await self._insert([event for event in missing if event is not None])

    async def _insert(self, events: Sequence[NewEvent]) -> int:
        rows = [(self._project_id, *event) for event in events]
        return await insert_missing_rows(self._session, Event, _COLUMNS, rows)

    async def missing(
        self, events: Sequence[SentEvent], with_uuid: Callable[[SentEvent, UUID], SentEvent]
    ) -> list[SentEvent | None]:
        """Return the events that are not stored, under the uuids that they are to be stored under; None for the others.

        An event that is repeated is returned once, in its first place.
        """
        found: list[SentEvent | None] = list(events)
        taken: dict[UUID, tuple[int, EventKey]] = {}
        pending = list(enumerate(events))
        while pending:
            stored = await self._stored([event.uuid for _, event in pending])
            again = []
            for place, event in pending:
                key = event.name, event.distinct_id
                holder, held = (
                    (None, stored[event.uuid]) if event.uuid in stored else taken.setdefault(event.uuid, (place, key))
                )
                if holder == place:
                    continue
                if held == key:
                    found[place] = None
                    continue
                found[place] = beside = with_uuid(event, uuid_beside(event.uuid, *key))
                again.append((place, beside))
            pending = again
        return found

    async def _stored(self, uuids: Sequence[UUID]) -> dict[UUID, EventKey]:
        """Return name and distinct id of the stored events that have one of the uuids."""
        dialect = self._session.get_bind().dialect.name
        values = list(uuids) if dialect == "postgresql" else [uuid.hex for uuid in uuids]
        parameters = {"project_id": self._project_id, "uuids": values}
        rows = await fetch_within(self._session, _stored_query(dialect), parameters)
        return {uuid: (name, distinct_id) for uuid, name, distinct_id in rows}

    async def count_unread_timestamps(self, names: Mapping[str, int], hour: int) -> None:
        """Add to the number of events of each name that stated a time that could not be read."""
        await insert_or_add(
            self._session,
            UnreadTimestamp,
            [
                {"project_id": self._project_id, "name": name, "hour": hour, "events": names[name]}
                for name in sorted(names)  # all transactions lock the rows in one order
            ],
            UnreadTimestamp.events,
        )
