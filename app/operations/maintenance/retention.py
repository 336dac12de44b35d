"""Removing old events without changing any result."""

import datetime as dt

from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.db.models import Project
from app.events.repository import EventQueries, EventRepository
from app.experiments.repository import ExperimentRepository
from app.operations.maintenance.scheduler import UpkeepFactory

# Events removed in one transaction: few enough for capture to get a turn on SQLite.
CHUNK = 5_000


class RetentionService:
    """Removes events that experiments need no more.

    Results are counted from facts, not from events. So first the facts of every experiment are completed, finished and
    archived ones included, and then events may go: all results stay what they are, to the last digit. What cannot be
    answered any more is refused and never answered with numbers that are too small: a metric that is new or changed,
    over a time before ``Project.events_since``.
    """

    def __init__(self, database: Database, maintenance: UpkeepFactory, project: Project) -> None:
        self._database = database
        self._upkeep = maintenance
        self._project = project

    async def preview(self, before: dt.datetime) -> int:
        """Return how many events would be removed."""
        high_water_mark = await EventQueries(self._database, self._project.id).high_water_mark()
        async with self._database.read() as session:
            events = EventRepository(session, self._project.id)
            return await events.count_before(to_microseconds(before), high_water_mark)

    async def prune(self, before: dt.datetime) -> int:
        """Remove the events that happened before a moment and return how many.

        May be stopped at any point and run again.
        """
        moment = to_microseconds(before)
        high_water_mark = await EventQueries(self._database, self._project.id).high_water_mark()
        async with self._database.read() as session:
            experiments = await ExperimentRepository(session, self._project.id).all()
        await self._upkeep(self._project).prepare_event_removal(experiments, moment)
        removed = 0
        while True:
            async with self._database.write() as session:
                events = EventRepository(session, self._project.id)
                some = await events.remove_before(moment, high_water_mark, CHUNK)
            if not some:
                return removed
            removed += some
