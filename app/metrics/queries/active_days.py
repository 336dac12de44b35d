"""Looks up the days on which a project has any event."""

import numpy as np

from app.accounts.projects.repository import AccountRepository
from app.common import limits
from app.db.database import Database
from app.events.history import EventHistory
from app.metrics.aggregation.active_users import Days
from app.metrics.counting.basis import rest_on_more
from app.metrics.counting.service import EventsRemoved
from app.metrics.queries.scope import ExperimentScope, buckets


class ActivityService:
    """The days with events of one project."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def days(self, scope: ExperimentScope) -> Days:
        """Return the days of an experiment, and which of them have events inside its window."""
        rest_on_more()
        days = buckets(scope, "day", limits.COUNTED_BUCKETS)
        starts = [max(int(start), scope.window.since) for start in days.starts]
        busy = np.zeros(len(days), dtype=np.bool_)
        found = await EventHistory(self._database, self._project_id).busy_buckets(starts, scope.window.until)
        async with self._database.read() as session:
            # Read afterwards, because a removal of events is recorded before it begins.
            events_since = await AccountRepository(session).events_since(self._project_id)
        if scope.window.since < events_since:
            raise EventsRemoved(events_since)
        busy[found] = True
        return Days(days, busy)
