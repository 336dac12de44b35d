"""Removal of old events that changes no result."""

import datetime as dt

from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.db.models import Project
from app.events.archive.removal import ArchiveRemoval
from app.events.removal.repository import EventRemovalRepository
from app.events.repository import EventQueries
from app.experiments.repository import ExperimentRepository
from app.operations.maintenance.scheduler import MaintenanceFactory

# Events removed in one transaction: few enough that capture on SQLite does not wait long.
CHUNK = 5_000


class RetentionService:
    """Removes events that the experiments of a project no longer need.

    Results are counted from facts, not from events. So the facts of every experiment, including finished and archived
    ones, are completed before events are removed, and no result changes. A new or changed metric over a time before
    ``Project.events_since`` is refused, because its counts would be too small.
    """

    def __init__(self, database: Database, maintenance: MaintenanceFactory, project: Project) -> None:
        self._database = database
        self._build_maintenance = maintenance
        self._project = project

    async def preview(self, before: dt.datetime) -> int:
        """Return how many events would be removed."""
        until = await self._last_removable()
        async with self._database.read() as session:
            events = EventRemovalRepository(session, self._project.id)
            here = await events.count_before(to_microseconds(before), until)
        return here + await ArchiveRemoval(self._database, self._project.id).count_before(to_microseconds(before))

    async def prune(self, before: dt.datetime) -> int:
        """Remove the events that happened before a moment and return how many.

        It can be interrupted at any point and run again.
        """
        moment = to_microseconds(before)
        until = await self._last_removable()
        async with self._database.read() as session:
            experiments = await ExperimentRepository(session, self._project.id).all()
        await self._build_maintenance(self._project).prepare_event_removal(experiments, moment)
        removed = 0
        while True:
            async with self._database.write() as session:
                events = EventRemovalRepository(session, self._project.id)
                some = await events.remove_before(moment, until, CHUNK)
            if not some:
                return removed + await ArchiveRemoval(self._database, self._project.id).remove_before(moment, until)
            removed += some

    async def _last_removable(self) -> int:
        """Return the sequence number up to which events are removed everywhere: the last event of all stays."""
        return await EventQueries(self._database, self._project.id).high_water_mark() - 1
