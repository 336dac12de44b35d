"""The background task that keeps the counts of running experiments warm: results then have little left to do."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from app.accounts.projects.repository import AccountRepository
from app.db.database import Database
from app.db.models import Project
from app.experiments.repository import CHANGED_EXPERIMENTS, ExperimentRepository
from app.operations.maintenance.service import MaintenanceService
from app.telemetry.prometheus import COUNTED_UNTIL

logger = logging.getLogger("abacus")

SECONDS_BETWEEN_REMOVALS = 3600.0

# Builds the maintenance of a project.
UpkeepFactory = Callable[[Project], MaintenanceService]


class MaintenanceScheduler:
    """Brings every running experiment's counts up to date: again and again, and at once when an experiment changes.

    So the events of a new metric have been looked through, or are being so, when its results are first asked for; who
    asks earlier waits for this task's work and does none himself.
    """

    def __init__(self, database: Database, maintenance: UpkeepFactory, interval: float) -> None:
        self._database = database
        self._upkeep = maintenance
        self._interval = interval
        self._changed = asyncio.Event()
        self._removed_at = time.monotonic()
        database.on_commit(self._notice)

    def _notice(self, noted: Mapping[Any, Any]) -> None:
        if noted.get(CHANGED_EXPERIMENTS):
            self._changed.set()

    async def run(self) -> None:
        """Run until cancelled. Trouble is logged and tried again: results do without this task, only slower."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._interval)
            self._changed.clear()
            try:
                await self.run_once()
                if time.monotonic() > self._removed_at + SECONDS_BETWEEN_REMOVALS:
                    self._removed_at = time.monotonic()
                    await self.remove_unused()
            except Exception:
                logger.exception("counting ahead of results failed; trying again in %s s", self._interval)

    async def run_once(self) -> None:
        """Bring the counts of all projects up to date."""
        started = time.time()
        async with self._database.read() as session:
            projects = await AccountRepository(session).projects()
        if all([await self.refresh_counts(project) for project in projects]):
            COUNTED_UNTIL.set(started)

    async def refresh_counts(self, project: Project) -> bool:
        """Bring the counts of a project's running experiments up to date; return whether none of them made trouble."""
        async with self._database.read() as session:
            experiments = await ExperimentRepository(session, project.id).running()
        is_well = True
        for experiment in experiments:
            try:
                await self._upkeep(project).refresh_counts(experiment)
            except Exception:  # the trouble of one experiment is not that of the others
                is_well = False
                logger.exception("experiment %d was not counted ahead of results", experiment.id)
        return is_well

    async def remove_unused(self) -> None:
        """Remove facts and counts that no experiment's metrics use any more."""
        async with self._database.read() as session:
            projects = await AccountRepository(session).projects()
        for project in projects:
            async with self._database.read() as session:
                experiments = await ExperimentRepository(session, project.id).all()
            await self._upkeep(project).remove_unused(experiments)
