"""Copies events to ClickHouse, and removes those from the database that are old enough.

The bounds of a batch are committed before it is sent, and it counts as archived once it can be read there. Whatever
ends in between, the same range is sent again. Readers take events from ClickHouse up to the mark of what was removed
here, which moves in the transaction that removes them.
"""

import asyncio
import datetime as dt
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple

from app.common.timestamps import to_microseconds
from app.db.bulk import insert_missing_rows
from app.db.clickhouse import ClickHouse, ClickHouseUnavailable
from app.db.database import Database
from app.db.models import Event, utc_now
from app.events.archive.pace import ArchivePace
from app.events.archive.repository import ArchiveRepository
from app.events.archive.store import ArchivedEvents
from app.events.removal.repository import EventRemovalRepository
from app.events.repository import EventQueries, EventRepository

logger = logging.getLogger("abacus")

BATCH: Final = 100_000
# Of a batch: those of one part are inserted while those of the next are read.
_READ_AT_A_TIME: Final = 20_000
# Few enough that nobody who stores or reads events waits long.
_RELEASED_AT_A_TIME: Final = 10_000
# As long an insert may go on after its client has given up.
LONGEST_INSERT: Final = dt.timedelta(minutes=10)
_COLUMNS: Final = (
    "project_id", "sequence", "uuid", "name", "distinct_id", "person_id", "time", "received_at", "properties",
)  # fmt: skip


class AnotherArchiverError(Exception):
    """Another process copies the events of the project, too."""


class _Copied(NamedTuple):
    """The end of a range of sequence numbers, and how many events were in it."""

    end: int
    events: int


class EventArchiver:
    """Moves the events of one project: with a ``pace`` in turn with those who store events, and else at full speed."""

    def __init__(
        self,
        database: Database,
        clickhouse: ClickHouse,
        project_id: int,
        report: Callable[[int], None] = lambda _: None,
        batch: int = BATCH,
        pace: ArchivePace | None = None,
    ) -> None:
        self._database = database
        self._archived = ArchivedEvents(clickhouse, project_id)
        self._project_id = project_id
        self._report = report  # gets the number of events that were moved since the last call
        self._batch = batch
        self._pace = pace

    async def steps(self, retention: dt.timedelta) -> AsyncIterator[None]:
        """Copy all events, and remove old ones here; pause after each batch. It can be interrupted and repeated.

        Raises
        ------
        AnotherArchiverError
            Two with a pace would take twice the time: this one leaves the rest to the other.
        """
        queries = EventQueries(self._database, self._project_id)
        until, reached = await queries.high_water_mark(), None
        began = await self._begin()
        while (copied := await self._copy(until, reached)) is not None:
            await self._rest(began, copied.events, copied.end)
            yield
            reached = copied.end
            began = await self._begin()
        received_before = to_microseconds(utc_now() - retention)
        while removed := await self._release(received_before):
            await self._rest(began, removed, None)
            yield
            began = await self._begin()

    async def _begin(self) -> float:
        """Return when a batch begins, after a look at how many events are stored meanwhile."""
        if self._pace is None:
            return 0.0
        self._pace.look(await EventQueries(self._database, self._project_id).highest())
        return self._pace.clock()

    async def _rest(self, began: float, events: int, reached: int | None) -> None:
        if self._pace is not None:
            await self._pace.rest(self._pace.clock() - began, events, reached)

    async def _copy(self, until: int, reached: int | None) -> _Copied | None:
        """Copy the next batch after those that have ``reached`` a sequence number; return None where there is none."""
        batch = self._batch if self._pace is None else self._pace.batch
        async with self._database.write() as session:
            state = await ArchiveRepository(session, self._project_id).lock()
            after = state.archived_until
            if self._pace is not None and reached not in {None, after} and after < until:
                raise AnotherArchiverError
            if state.sending_until > after:
                state.interrupted_at = to_microseconds(utc_now())
            elif after < until:
                events = EventRepository(session, self._project_id)
                state.sending_until, _ = await events.page_of(None, after, until, batch)
            end = state.sending_until
        if end <= after:
            return None
        async with self._database.write() as session:
            archive = ArchiveRepository(session, self._project_id)
            state = await archive.lock()
            if (state.archived_until, state.sending_until) != (after, end):  # another process was faster
                return _Copied(end, 0)
            sent = await self._send(archive, after, end)
            state.archived_until = end
        return _Copied(end, sent)

    async def _send(self, events: ArchiveRepository, after: int, end: int) -> int:
        """Send a range, its next events being read while those before are on their way; return how many there are."""
        # What an attempt has left, or events of a time that PostgreSQL was restored to before: their numbers are given
        # again.
        await self._archived.remove_after(after)
        sent, found = 0, await events.text_after(after, end, _READ_AT_A_TIME)
        while found is not None:
            inserted, following = await asyncio.gather(
                self._archived.insert(found.body),
                events.text_after(found.last, end, _READ_AT_A_TIME),
                return_exceptions=True,  # so that neither goes on when the other one has failed
            )
            if inserted is not None:
                raise inserted
            if isinstance(following, BaseException):
                raise following
            sent += found.events
            self._report(found.events)
            found = following
        if sent and await self._archived.count(after, end) < sent:
            raise ClickHouseUnavailable("events that were inserted cannot be read yet")
        return sent

    async def _release(self, received_before: int) -> int:
        """Remove the next events from the database that were received before a time; return how many."""
        async with self._database.write() as session:
            state = await ArchiveRepository(session, self._project_id).lock()
            events = EventRemovalRepository(session, self._project_id)
            found = await events.received_after(state.released_until, state.archived_until, _RELEASED_AT_A_TIME)
            old = [sequence for sequence, _ in itertools.takewhile(lambda one: one[1] < received_before, found)]
            if not old:
                return 0
            there = await self._archived.count(state.released_until, old[-1])
            if there < len(old):  # a backup that is too old was restored, say
                raise ClickHouseUnavailable(
                    f"project {self._project_id}: ClickHouse has {there} events from {old[0]} to {old[-1]}, and"
                    f" PostgreSQL {len(old)}: they stay in PostgreSQL"
                )
            await events.remove_range(state.released_until, old[-1])
            state.released_until = old[-1]
        return len(old)

    async def move_out(self) -> int:
        """Move all events back to the database, the last ones first; return how many. It can be interrupted."""
        moved, is_all = 0, False
        while not is_all:
            async with self._database.write() as session:
                state = await ArchiveRepository(session, self._project_id).lock()
                found = await self._archived.last_before(state.released_until, self._batch)
                rows = [(self._project_id, *event) for event in found]
                await insert_missing_rows(session, Event, _COLUMNS, rows)  # an event may have been sent again since
                is_all = not found
                state.released_until = 0 if is_all else found[-1].sequence - 1
            moved += len(found)
            self._report(len(found))
        async with self._database.write() as session:
            state = await ArchiveRepository(session, self._project_id).lock()
            await self._archived.remove_all()
            state.archived_until = state.sending_until = 0
        return moved
