"""Removing old events without changing any result."""

import datetime as dt
from collections.abc import Sequence

from app.database import Database
from app.errors import NotFound
from app.events.repository import EventRepository
from app.experiments.repository import ExperimentRepository
from app.facts.repository import FactRepository
from app.models import Project
from app.moments import to_microseconds
from app.projects.repository import AccountRepository
from app.results.schedule import ResultsFactory

# Events removed in one transaction: few enough for capture to get a turn on SQLite.
CHUNK = 5_000


async def find_projects(database: Database, project_id: int | None) -> Sequence[Project]:
    """Return one project, or all."""
    async with database.read() as session:
        projects = await AccountRepository(session).projects()
    found = [project for project in projects if project_id in {None, project.id}]
    if not found and project_id is not None:
        raise NotFound(f"There is no project {project_id}.")
    return found


class RetentionService:
    """Removes events that experiments need no more.

    Results are counted from facts, not from events. So first the facts of every experiment are completed, finished and
    archived ones included, and then events may go: all results stay what they are, to the last digit. What cannot be
    answered any more is refused and never answered with numbers that are too small: a metric that is new or changed,
    over a time before ``Project.events_since``.
    """

    def __init__(self, database: Database, results: ResultsFactory, project: Project) -> None:
        self._database = database
        self._results = results
        self._project = project

    async def preview(self, before: dt.datetime) -> int:
        """Return how many events would be removed."""
        async with self._database.read() as session:
            events = EventRepository(session, self._project.id)
            high_water_mark = await events.high_water_mark()
            return await events.count_before(to_microseconds(before), high_water_mark)

    async def prune(self, before: dt.datetime) -> int:
        """Remove the events that happened before a moment and return how many.

        May be stopped at any point and run again.
        """
        moment = to_microseconds(before)
        async with self._database.read() as session:
            high_water_mark = await EventRepository(session, self._project.id).high_water_mark()
            experiments = await ExperimentRepository(session, self._project.id).all()
        results = self._results(self._project)
        complete: set[int] = set()
        for experiment in experiments:
            complete |= await results.complete_series(experiment)
        async with self._database.write() as session:
            await FactRepository(session, self._project.id).keep_only(complete, max(moment, self._project.events_since))
        removed = 0
        while True:
            async with self._database.write() as session:
                events = EventRepository(session, self._project.id)
                some = await events.remove_before(moment, high_water_mark, CHUNK)
            if not some:
                return removed
            removed += some
