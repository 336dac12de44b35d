"""How far the events of a project are archived, and the events that are to be."""

from typing import NamedTuple

from sqlalchemy import BigInteger, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.common import limits
from app.common.errors import Unavailable
from app.db.database import Database
from app.db.models import Event, EventArchive
from app.db.rows import copy_rows_by_size
from app.db.upserts import insert_if_absent
from app.events.archive.store import ArchivedEvents

_TEXTS = (
    select(
        Event.sequence, Event.project_id, Event.uuid, Event.name, Event.distinct_id, Event.person_id, Event.time,
        Event.received_at, Event.properties,
    )
    .where(
        Event.project_id == bindparam("project_id"),
        Event.sequence > bindparam("after"),
        Event.sequence <= bindparam("until"),
    )
    .limit(bindparam("limit"))
)  # fmt: skip
_RELEASED = select(EventArchive.released_until).where(
    EventArchive.project_id == bindparam("project_id", type_=BigInteger)
)


class EventText(NamedTuple):
    """Events as PostgreSQL prints them, by the columns of ``EVENT_COLUMNS``: how many, and the last sequence number."""

    body: bytes
    events: int
    last: int


class ArchiveRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def lock(self) -> EventArchive:
        """Return how far the events are, which nobody else changes until the end of the transaction."""
        await insert_if_absent(
            self._session,
            EventArchive,
            [
                {
                    "project_id": self._project_id,
                    "archived_until": 0,
                    "sending_until": 0,
                    "released_until": 0,
                    "interrupted_at": 0,
                }
            ],
        )
        found = await self._session.scalars(
            select(EventArchive).where(EventArchive.project_id == self._project_id).with_for_update()
        )
        return found.one()

    async def get(self) -> EventArchive | None:
        return await self._session.get(EventArchive, self._project_id)

    async def released_until(self) -> int:
        """Return the sequence number up to which events are in ClickHouse only."""
        return await self._session.scalar(_RELEASED, {"project_id": self._project_id}) or 0

    async def text_after(self, sequence: int, until: int, limit: int) -> EventText | None:
        """Return the first events in a range, by the bounds of ``EventRepository.named_after``; None without any."""
        bound = {"project_id": self._project_id, "after": sequence, "until": until, "limit": limit}
        body = await copy_rows_by_size(
            self._session, _TEXTS, Event.sequence, Event.properties, limits.ROWS_BYTES.value, bound
        )
        if not body:
            return None
        last_line = body[body.rfind(b"\n", 0, -1) + 1 :]
        return EventText(body, body.count(b"\n"), int(last_line.partition(b"\t")[0]))

    async def copied(self) -> tuple[int, int, int]:
        """Return up to where events are in ClickHouse as well, and only; and the last one of those that are in both."""
        state = await self.get()
        if state is None:
            return 0, 0, 0
        in_both = (
            Event.project_id == self._project_id,
            Event.sequence > state.released_until,
            Event.sequence <= state.archived_until,
        )
        last = await self._session.scalar(select(func.max(Event.sequence)).where(*in_both))
        return state.archived_until, state.released_until, last or 0


async def released_until(database: Database, project_id: int) -> int:
    """Return the sequence number up to which events are in ClickHouse only."""
    if database.is_sqlite:
        return 0
    rows = await database.fetch(_RELEASED, {"project_id": project_id})
    return rows[0][0] if rows else 0


async def copied_until(database: Database, project_id: int) -> int:
    """Return the sequence number up to which ClickHouse has all events, whether they are in the database or not.

    Where it has lost the last ones, as after the restore of a backup that is too old, only those that left the database
    are taken from there.
    """
    async with database.read() as session:
        copied, released, last = await ArchiveRepository(session, project_id).copied()
    if last and await archived_events(database, project_id).last_sequence(copied) < last:
        return released
    return copied


def archived_events(database: Database, project_id: int) -> ArchivedEvents:
    """Return the archived events of a project that has some.

    Raises
    ------
    Unavailable
        When the settings name no ClickHouse.
    """
    if database.clickhouse is None:
        raise Unavailable("Events of this project are in ClickHouse, which the settings do not name.")
    return ArchivedEvents(database.clickhouse, project_id)
