"""The background task that copies events to ClickHouse, and lets old ones leave the database."""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import AsyncIterator

from app.accounts.projects.repository import AccountRepository
from app.db.clickhouse import ClickHouse, ClickHouseFailure, ClickHouseUnavailable
from app.db.database import Database
from app.db.errors import describe, is_transient_database_error
from app.events.archive.archiver import AnotherArchiverError, EventArchiver
from app.events.archive.pace import ArchivePace
from app.telemetry.prometheus import ARCHIVED_UNTIL

logger = logging.getLogger("abacus")


class ArchiveScheduler:
    """Moves the events of all projects again and again, a batch of each in turn, at a pace that capture can bear.

    It is apart from the refresh of counts, which must not wait until years of events are copied.
    """

    def __init__(self, database: Database, interval: float) -> None:
        self._database = database
        self._interval = interval
        self._pace = ArchivePace()

    async def run(self) -> None:
        """Run until cancelled, if the settings let events leave the database. Errors are logged and retried."""
        clickhouse = self._database.clickhouse
        if clickhouse is None or clickhouse.event_retention is None:
            return
        while True:
            try:
                await self.run_once(clickhouse, clickhouse.event_retention)
            except Exception as error:
                self._report("events wait", error)
            await asyncio.sleep(self._interval)

    async def run_once(self, clickhouse: ClickHouse, retention: dt.timedelta) -> None:
        """Move all events that there are now."""
        began, succeeded = time.time(), True
        async with self._database.read() as session:
            projects = await AccountRepository(session).projects()
        moving = {
            project.id: EventArchiver(self._database, clickhouse, project.id, pace=self._pace).steps(retention)
            for project in projects
        }
        while moving:
            for project_id, steps in list(moving.items()):
                try:
                    if await _go_on(steps):
                        continue
                except AnotherArchiverError:
                    succeeded = False  # as far as this process knows
                except Exception as error:  # an error of one project must not stop the others
                    self._report(f"events of project {project_id} wait", error)
                    succeeded = False
                del moving[project_id]
        if succeeded:
            ARCHIVED_UNTIL.set(began)

    def _report(self, what: str, error: Exception) -> None:
        if isinstance(error, ClickHouseUnavailable | ClickHouseFailure) or is_transient_database_error(error):
            logger.warning("%s to be archived: %s", what, describe(error))
        else:
            logger.exception("%s to be archived; retrying in %s s", what, self._interval)


async def _go_on(steps: AsyncIterator[None]) -> bool:
    """Do the next piece of work; return whether there was one."""
    async for _ in steps:
        return True
    return False
