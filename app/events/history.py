"""All events of a project: up to a sequence number they are in ClickHouse, and after it in the database."""

import datetime as dt
import heapq
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.db.drivers import give_back_connection
from app.db.models import Event
from app.events.archive.repository import ArchiveRepository, archived_events, released_until
from app.events.archive.store import ArchivedEvents
from app.events.repository import EventChunk, EventRepository, EventSelection, StoredEvent

T = TypeVar("T")


class _Sent(Protocol):
    @property
    def uuid(self) -> UUID: ...
    @property
    def name(self) -> str: ...
    @property
    def distinct_id(self) -> str: ...
    @property
    def time(self) -> int: ...


SentEvent = TypeVar("SentEvent", bound=_Sent)


class EventHistory:
    """Bound to one project when built. Each event is read once, also while events move to ClickHouse.

    With a ``session``, which is not of a snapshot, it takes no other connection: who holds one must not wait for two,
    nor for ClickHouse.
    """

    def __init__(self, database: Database, project_id: int, session: AsyncSession | None = None) -> None:
        self._database = database
        self._project_id = project_id
        self._session = session

    async def named_after(self, names: Sequence[str] | None, sequence: int, until: int, limit: int) -> EventChunk:
        """Return the first events after a sequence number; see ``EventRepository.named_after``."""
        return await self._after(
            sequence,
            lambda events: events.named_after(names, sequence, until, limit),
            lambda archived, end: archived.named_after(names, sequence, min(until, end), limit),
        )

    async def stored_after(self, sequence: int, until: int, limit: int) -> Sequence[StoredEvent]:
        """Return the first events after a sequence number; see ``EventRepository.stored_after``."""

        async def read_archived(archived: ArchivedEvents, end: int) -> Sequence[StoredEvent]:
            found = await archived.stored_after(sequence, min(until, end), limit)
            return found or await self.stored_after(end, until, limit)  # the last ones there may have been removed

        return await self._after(sequence, lambda events: events.stored_after(sequence, until, limit), read_archived)

    async def page(self, selection: EventSelection, limit: int) -> Sequence[Event]:
        """Return events, newest first."""
        here, there = await self._both(
            lambda events: events.page(selection, limit), lambda archived, end: archived.page(selection, end, limit)
        )
        return _newest(here, there or (), lambda event: (event.time, event.sequence), limit)

    async def sizes(self, selection: EventSelection, limit: int) -> Sequence[tuple[int, int]]:
        """Return the person id and the bytes of each event that ``page`` returns."""
        here, there = await self._both(
            lambda events: events.sizes(selection, limit), lambda archived, end: archived.sizes(selection, end, limit)
        )
        found = _newest(here, there or (), lambda one: one[:2], limit)
        return [(person_id, size) for _, _, person_id, size in found]

    async def busy_buckets(self, starts: Sequence[int], before: int) -> list[int]:
        """Return the indexes of the time buckets that contain events; the last bucket ends at ``before``."""
        here, there = await self._both(
            lambda events: events.busy_buckets(starts, before),
            lambda archived, end: archived.busy_buckets(starts, before, end),
        )
        return sorted({*here, *(there or ())})

    async def without_archived(self, events: Sequence[SentEvent]) -> Sequence[SentEvent]:
        """Return the events that have not left the database: known by uuid, name and distinct id, at about their time.

        Those that are in the database are recognized there when they are stored.
        """
        end = await self._released_until() if events else 0
        if not end:
            return events
        times = [event.time for event in events]
        archived = archived_events(self._database, self._project_id)
        known = await archived.keys_of([event.uuid for event in events], min(times), max(times), end)
        return [event for event in events if (event.uuid, event.name, event.distinct_id) not in known]

    async def any_named(self, names: Sequence[str]) -> bool:
        """Whether there has been an event with one of the names."""
        return await self._any(
            lambda events: events.any_named(names), lambda archived, end: archived.any_named(names, end)
        )

    async def any_naming_a_variant(self, names: Sequence[str], since: dt.datetime, before: dt.datetime) -> bool:
        """Whether an event with one of the names has a property ``$feature/...``; see ``any_with_text``."""
        return await self.any_with_text(names, ("$feature/", r"$feature\/"), since, before)

    async def any_with_text(
        self, names: Sequence[str], texts: Sequence[str], since: dt.datetime, before: dt.datetime
    ) -> bool:
        """Whether properties contain one of some texts; see ``EventRepository.any_with_text``."""
        bounds = to_microseconds(since), to_microseconds(before)
        return await self._any(
            lambda events: events.any_with_text(names, texts, since, before),
            lambda archived, end: archived.any_with_text(names, texts, *bounds, end),
        )

    async def first_time(self) -> int | None:
        """Return when the first event happened; None without events."""
        here, there = await self._both(
            lambda events: events.first_time(), lambda archived, end: archived.first_time(end)
        )
        return min((one for one in (here, there) if one is not None), default=None)

    async def _after(
        self,
        sequence: int,
        read: Callable[[EventRepository], Awaitable[T]],
        read_archived: Callable[[ArchivedEvents, int], Awaitable[T]],
    ) -> T:
        """Read what follows a sequence number from where it is."""
        end = 0  # as where no events ever left the database, so that nothing has to be asked before
        if self._database.clickhouse is not None:
            end = await self._released_until()
        while True:
            if sequence < end:
                return await self._read_archived(read_archived, end)
            found = await self._read(read)
            # Events that were removed from the database before they were read are in ClickHouse.
            if await self._is_still(end):
                return found
            end = await self._released_until()

    async def _both(
        self,
        read: Callable[[EventRepository], Awaitable[T]],
        read_archived: Callable[[ArchivedEvents, int], Awaitable[T]],
    ) -> tuple[T, T | None]:
        """Read from both places, with the same mark between them."""
        while True:
            end = await self._released_until()
            there = await self._read_archived(read_archived, end) if end else None
            here = await self._read(read)
            if await self._is_still(end):
                return here, there

    async def _any(
        self,
        read: Callable[[EventRepository], Awaitable[bool]],
        read_archived: Callable[[ArchivedEvents, int], Awaitable[bool]],
    ) -> bool:
        """Whether something is in one of both places. ClickHouse is not asked where the database has it."""
        while True:
            end = await self._released_until()
            if await self._read(read):
                return True
            if await self._is_still(end):
                return end > 0 and await self._read_archived(read_archived, end)

    async def _read_archived(self, read: Callable[[ArchivedEvents, int], Awaitable[T]], end: int) -> T:
        if self._session is not None:
            await give_back_connection(self._session)
        return await read(archived_events(self._database, self._project_id), end)

    async def _read(self, read: Callable[[EventRepository], Awaitable[T]]) -> T:
        if self._session is not None:
            return await read(EventRepository(self._session, self._project_id))
        async with self._database.read() as session:
            return await read(EventRepository(session, self._project_id))

    async def _released_until(self) -> int:
        if self._session is None or self._database.is_sqlite:
            return await released_until(self._database, self._project_id)
        return await ArchiveRepository(self._session, self._project_id).released_until()

    async def _is_still(self, end: int) -> bool:
        """Whether no events left the database meanwhile, which another process may remove."""
        return self._database.is_sqlite or await self._released_until() == end


def _newest(here: Sequence[T], there: Sequence[T], key: Callable[[T], tuple[int, ...]], limit: int) -> list[T]:
    """Merge two lists that are in descending order."""
    return list(heapq.merge(here, there, key=key, reverse=True))[:limit]
