"""Changes that may end an experiment, and then store a snapshot of its results."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from app.common.errors import Unavailable
from app.db.database import Database
from app.experiments.service import ExperimentService, SnapshotNeeded
from app.experiments.snapshots.service import SnapshotTaker, TakenSnapshot

MAX_ATTEMPTS = 5

Result = TypeVar("Result")
# Builds the service of a transaction, with the snapshot that was taken for it.
ServiceFactory: TypeAlias = Callable[[AsyncSession, TakenSnapshot | None], ExperimentService]


class ExperimentChanges:
    """Makes changes in transactions of its own."""

    def __init__(self, database: Database, build: ServiceFactory, taker: SnapshotTaker) -> None:
        self._database = database
        self._build = build
        self._taker = taker

    async def make(self, change: Callable[[ExperimentService], Awaitable[Result]]) -> Result:
        """Make a change, in one transaction with the snapshot where it needs one.

        ``change`` may be called several times, and has to do the same each time.
        """
        taken = None
        for _ in range(MAX_ATTEMPTS):
            try:
                async with self._database.write() as session:
                    return await change(self._build(session, taken))
            except SnapshotNeeded as needed:  # the transaction was rolled back
                taken = await self._taker.take(needed.experiment)
        raise Unavailable("The experiment is being modified concurrently. Please try again.")
