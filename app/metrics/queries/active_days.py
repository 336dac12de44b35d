"""Which days of a project have any event at all."""

import numpy as np

from app.accounts.projects.repository import AccountRepository
from app.db.database import Database
from app.events.repository import EventRepository
from app.metrics.aggregation.active_users import Days
from app.metrics.counting.service import EventsRemoved
from app.metrics.queries.scope import ExperimentScope, buckets


class ActivityService:
    """Asks the events of one project."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def days(self, scope: ExperimentScope) -> Days:
        """Return the days of an experiment, and on which of them anything happened inside its window."""
        days = buckets(scope, "day")
        starts = [max(int(start), scope.window.since) for start in days.starts]
        busy = np.zeros(len(days), dtype=np.bool_)
        async with self._database.read() as session:
            found = await EventRepository(session, self._project_id).busy_buckets(starts, scope.window.until)
            # Asked afterwards: whoever removes events says so first.
            events_since = await AccountRepository(session).events_since(self._project_id)
        if scope.window.since < events_since:
            raise EventsRemoved(events_since)
        busy[found] = True
        return Days(days, busy)
