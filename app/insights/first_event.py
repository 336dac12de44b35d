"""When the events of a project begin."""

from app.accounts.projects.repository import AccountRepository
from app.db.database import Database
from app.events.history import EventHistory


async def first_event(database: Database, project_id: int) -> int | None:
    """Return when the first event happened that is there, in microseconds since 1970 UTC; None without events.

    After a removal of old events it is not before the moment from which on all of them are there.
    """
    first = await EventHistory(database, project_id).first_time()
    async with database.read() as session:
        since = await AccountRepository(session).events_since(project_id)
    return None if first is None else max(first, since)
