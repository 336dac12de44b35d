"""The background task that refreshes the counts of running experiments, so that results are fast."""

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

# Builds the maintenance service of a project.
MaintenanceFactory = Callable[[Project], MaintenanceService]


class MaintenanceScheduler:
    """Refreshes the counts of all running experiments, periodically and as soon as an experiment changes.

    So the events of a new metric are processed, or being processed, when its results are first requested; a reader
    that arrives earlier waits for this task instead of repeating its work.
    """

    def __init__(self, database: Database, maintenance: MaintenanceFactory, interval: float) -> None:
        self._database = database
        self._build_maintenance = maintenance
        self._interval = interval
        self._changed = asyncio.Event()
        self._removed_at = time.monotonic()
        database.on_commit(self._handle_commit)

    def _handle_commit(self, info: Mapping[Any, Any]) -> None:
        if info.get(CHANGED_EXPERIMENTS):
            self._changed.set()

    async def run(self) -> None:
        """Run until cancelled. Errors are logged and retried: without this task results are only slower."""
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
                logger.exception("background refresh failed; retrying in %s s", self._interval)

    async def run_once(self) -> None:
        """Refresh the counts of all projects."""
        started = time.time()
        async with self._database.read() as session:
            projects = await AccountRepository(session).projects()
        if all([await self.refresh_counts(project) for project in projects]):
            COUNTED_UNTIL.set(started)

    async def refresh_counts(self, project: Project) -> bool:
        """Refresh the counts of a project's running experiments; return whether all succeeded."""
        async with self._database.read() as session:
            experiments = await ExperimentRepository(session, project.id).running()
        succeeded = True
        for experiment in experiments:
            try:
                await self._build_maintenance(project).refresh_counts(experiment)
            except Exception:  # an error of one experiment must not stop the others
                succeeded = False
                logger.exception("background refresh of experiment %d failed", experiment.id)
        return succeeded

    async def remove_unused(self) -> None:
        """Remove facts and counts that the metrics of no experiment use any more."""
        async with self._database.read() as session:
            projects = await AccountRepository(session).projects()
        for project in projects:
            async with self._database.read() as session:
                experiments = await ExperimentRepository(session, project.id).all()
            await self._build_maintenance(project).remove_unused(experiments)
