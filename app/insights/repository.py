"""When the events of a project begin."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Event, Project


class FirstEventRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def time(self) -> int | None:
        """Return when the first event happened that is there, in microseconds since 1970 UTC; None without events.

        After a removal of old events it is not before the moment from which on all of them are there.
        """
        first = await self._session.scalar(select(func.min(Event.time)).where(Event.project_id == self._project_id))
        since = await self._session.scalar(select(Project.events_since).where(Project.id == self._project_id))
        return None if first is None or since is None else max(first, since)
