"""Changes that need work outside of their transaction: a snapshot of the results, or a check of the definition."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from app.common.errors import Unavailable
from app.db.database import Database
from app.experiments.health.definition import DefinitionChecker
from app.experiments.service import NOTHING_PREPARED, CheckNeeded, ExperimentService, Prepared, SnapshotNeeded
from app.experiments.snapshots.service import SnapshotTaker, define

MAX_ATTEMPTS = 5

Result = TypeVar("Result")
Service = TypeVar("Service", bound=ExperimentService)


class ExperimentChanges(Generic[Service]):
    """Makes changes in transactions of its own.

    ``build`` makes the service of a transaction, with what was prepared for it.
    """

    def __init__(
        self,
        database: Database,
        build: Callable[[AsyncSession, Prepared], Service],
        taker: SnapshotTaker,
        checker: DefinitionChecker,
    ) -> None:
        self._database = database
        self._build = build
        self._taker = taker
        self._checker = checker

    async def make(self, change: Callable[[Service], Awaitable[Result]]) -> Result:
        """Make a change, in one transaction with the snapshot where it needs one.

        ``change`` may be called several times, and has to do the same each time.

        Raises
        ------
        ValidationFailed
            When the change needs a valid definition, and the experiment has another one.
        """
        prepared = NOTHING_PREPARED
        for _ in range(MAX_ATTEMPTS):
            try:
                async with self._database.write() as session:
                    return await change(self._build(session, prepared))
            except SnapshotNeeded as needed:  # the transaction was rolled back
                prepared = replace(prepared, snapshot=await self._taker.take(needed.experiment))
            except CheckNeeded as needed:
                await self._checker.refuse_invalid(needed.experiment)
                prepared = replace(prepared, checked=define(needed.experiment))
        raise Unavailable("The experiment is being modified concurrently. Please try again.")
