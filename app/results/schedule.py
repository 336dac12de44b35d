"""The periodic task that keeps the counts of running experiments warm: results then have little left to do."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from app.database import Database
from app.experiments.repository import ExperimentRepository
from app.models import Experiment, Project
from app.projects.repository import AccountRepository
from app.results.service import ResultsService

logger = logging.getLogger("abacus")

# Builds the results service of a project.
ResultsFactory = Callable[[Project], ResultsService]


class Schedule:
    """Brings every running experiment's counts up to date, again and again."""

    def __init__(self, database: Database, results: ResultsFactory, turns: asyncio.Semaphore, interval: float) -> None:
        self._database = database
        self._results = results
        self._turns = turns  # shared with those who ask for results
        self._interval = interval

    async def run(self) -> None:
        """Run until cancelled. Trouble is logged and tried again: results do without this task, only slower."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.run_once()
            except Exception:
                logger.exception("counting ahead of results failed; trying again in %s s", self._interval)

    async def run_once(self) -> None:
        async with self._database.read() as session:
            projects = await AccountRepository(session).projects()
        for project in projects:
            for experiment in await self._running(project):
                try:
                    async with self._turns:
                        await self._results(project).keep_up(experiment)
                except Exception:  # the trouble of one experiment is not that of the others
                    logger.exception("experiment %d was not counted ahead of results", experiment.id)

    async def _running(self, project: Project) -> Sequence[Experiment]:
        async with self._database.read() as session:
            return await ExperimentRepository(session, project.id).running()
