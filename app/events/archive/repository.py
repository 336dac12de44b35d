"""How far the events of a project are archived."""

from sqlalchemy import BigInteger, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.common.errors import Unavailable
from app.db.database import Database
from app.db.models import EventArchive
from app.db.upserts import insert_if_absent
from app.events.archive.store import ArchivedEvents

_RELEASED = select(EventArchive.released_until).where(
    EventArchive.project_id == bindparam("project_id", type_=BigInteger)
)


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


async def released_until(database: Database, project_id: int) -> int:
    """Return the sequence number up to which events are in ClickHouse only."""
    if database.is_sqlite:
        return 0
    rows = await database.fetch(_RELEASED, {"project_id": project_id})
    return rows[0][0] if rows else 0


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
