"""The background task that refreshes the counts of running experiments, so that results are fast."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.accounts.idempotency.repository import forget_answers_before
from app.accounts.idempotency.service import KEPT
from app.accounts.projects.repository import AccountRepository
from app.common import limits
from app.db.database import Database
from app.db.errors import describe, is_transient_database_error
from app.db.models import Project, utc_now
from app.events.definitions.service import DefinitionService
from app.experiments.phases.upkeep import PhaseUpkeep
from app.experiments.repository import CHANGED_EXPERIMENTS, ExperimentRepository
from app.experiments.verdicts.service import VerdictUpkeep
from app.experiments.webhooks.watching import EvidenceWatch
from app.operations.maintenance.erasure import ErasureService
from app.operations.maintenance.service import MaintenanceService
from app.telemetry.prometheus import COUNTED_UNTIL

logger = logging.getLogger("abacus")

SECONDS_BETWEEN_REMOVALS = 3600.0

# Build the maintenance service of a project, what its experiments do by themselves, what webhooks are told of them, and
# the verdicts on them.
MaintenanceFactory = Callable[[Project], MaintenanceService]
UpkeepFactory = Callable[[Project], PhaseUpkeep]
WatchFactory = Callable[[Project], EvidenceWatch]
VerdictFactory = Callable[[Project], VerdictUpkeep]


@dataclass
class _Refresh:
    """The refresh of a project, which goes on wherever it paused. ``task`` is its current turn."""

    steps: AsyncGenerator[None]
    began: float
    failed: set[int]  # experiments
    task: asyncio.Task[bool] | None = None


class MaintenanceScheduler:
    """Refreshes the counts of all running experiments, periodically and as soon as an experiment changes.

    So the events of a new metric are processed, or being processed, when its results are first requested; a reader
    that arrives earlier waits for this task instead of repeating its work.

    Projects take turns of at most ``limits.REFRESH_SECONDS``. A single count that takes longer ends beside the turns of
    others.
    """

    def __init__(
        self,
        database: Database,
        maintenance: MaintenanceFactory,
        interval: float,
        turn: float = limits.REFRESH_SECONDS.value,
        upkeep: UpkeepFactory | None = None,
        watch: WatchFactory | None = None,
        verdicts: VerdictFactory | None = None,
    ) -> None:
        self._database = database
        self._build_maintenance = maintenance
        self._build_upkeep = upkeep
        self._build_watch = watch
        self._build_verdicts = verdicts
        self._interval = interval
        self._turn = turn
        self._changed = asyncio.Event()
        self._removed_at = time.monotonic()
        self._refreshes: dict[int, _Refresh] = {}
        self._known: set[int] = set()
        self._counted_until: dict[int, float] = {}
        database.on_commit(self._handle_commit)

    def _handle_commit(self, info: Mapping[Any, Any]) -> None:
        if info.get(CHANGED_EXPERIMENTS):
            self._changed.set()

    async def run(self) -> None:
        """Run until cancelled. Errors are logged and retried: without this task results are only slower."""
        next_at = time.monotonic() + self._interval
        try:
            while True:
                if not self._refreshes:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), max(0.0, next_at - time.monotonic()))
                try:
                    if self._changed.is_set() or time.monotonic() >= next_at:
                        self._changed.clear()
                        next_at = time.monotonic() + self._interval
                        await self._begin()
                    await self._take_turns()
                    if time.monotonic() > self._removed_at + SECONDS_BETWEEN_REMOVALS:
                        self._removed_at = time.monotonic()
                        await self.remove_unused()
                except Exception as error:
                    if is_transient_database_error(error):  # which requests and /_readyz report, too
                        logger.warning("background refresh waits for the database: %s", describe(error))
                    else:
                        logger.exception("background refresh failed; retrying in %s s", self._interval)
                    await self._cancel()
        finally:
            await self._cancel()

    async def run_once(self) -> None:
        """Refresh the counts of all projects."""
        await self._begin()
        while self._refreshes:
            await self._take_turns()

    async def _begin(self) -> None:
        """Begin to refresh the projects that are not being refreshed."""
        async with self._database.read() as session:
            projects = await AccountRepository(session).projects()
        ids = {project.id for project in projects}
        self._known = ids
        self._counted_until = {one: until for one, until in self._counted_until.items() if one in ids}
        for project in projects:
            if project.id not in self._refreshes:
                self._refreshes[project.id] = self._refresh(project)

    async def _take_turns(self) -> None:
        """Let each project have a turn, and those whose last count has not ended yet go on with it."""
        waited_for = []
        for project_id, refresh in list(self._refreshes.items()):
            if refresh.task is None or refresh.task.done():
                refresh.task = asyncio.create_task(self._take_turn(refresh))
                await asyncio.wait({refresh.task}, timeout=self._turn)
            if refresh.task.done():
                self._end_turn(project_id, refresh)
            else:
                waited_for.append(refresh.task)
        if waited_for and len(waited_for) == len(self._refreshes):
            await asyncio.wait(waited_for, timeout=self._turn, return_when=asyncio.FIRST_COMPLETED)

    async def _take_turn(self, refresh: _Refresh) -> bool:
        """Do piece after piece until the turn is over; return whether all is done."""
        ends_at = time.monotonic() + self._turn
        async for _ in refresh.steps:
            if time.monotonic() >= ends_at:
                return False
        return True

    def _end_turn(self, project_id: int, refresh: _Refresh) -> None:
        succeeded = True
        try:
            is_finished = refresh.task is None or refresh.task.result()
        except Exception:  # an error of one project must not stop the others
            logger.exception("background refresh of project %d failed; retrying in %s s", project_id, self._interval)
            is_finished, succeeded = True, False
        if not is_finished:
            return
        del self._refreshes[project_id]
        if not refresh.failed and succeeded:
            self._counted_until[project_id] = refresh.began
        if self._counted_until.keys() >= self._known:
            COUNTED_UNTIL.set(min(self._counted_until.values()))

    def _refresh(self, project: Project) -> _Refresh:
        failed: set[int] = set()
        return _Refresh(self._steps(project, failed), time.time(), failed)

    async def _steps(self, project: Project, failed: set[int]) -> AsyncGenerator[None]:
        """Follow the schedules of a project's experiments, and refresh the counts of those that run.

        Then let their circuit breakers act, form verdicts, tell webhooks what is new, keep the names of events and
        properties, and remove the events of erased persons that the request for it left. It pauses after each piece of
        work.
        """
        upkeep = None if self._build_upkeep is None else self._build_upkeep(project)
        if upkeep is not None:
            await upkeep.follow_schedules(utc_now())
            yield
        async with self._database.read() as session:
            experiments = await ExperimentRepository(session, project.id).running()
        for experiment in experiments:
            try:
                async for _ in self._build_maintenance(project).refresh_counts(experiment):
                    yield
            except Exception:  # an error of one experiment must not stop the others
                failed.add(experiment.id)
                logger.exception("background refresh of experiment %d failed", experiment.id)
        if upkeep is not None:
            await upkeep.watch(utc_now())
            yield
        if self._build_verdicts is not None:
            async for _ in self._build_verdicts(project).steps(utc_now()):
                yield
        if self._build_watch is not None:
            async for _ in self._build_watch(project).steps(utc_now()):
                yield
        async for _ in DefinitionService(self._database, project.id).steps():
            yield
        async for _ in ErasureService(self._database, self._build_maintenance(project), project).steps():
            yield

    async def refresh_counts(self, project: Project) -> bool:
        """Refresh the counts of one project's running experiments; return whether all succeeded."""
        refresh = self._refresh(project)
        async for _ in refresh.steps:
            pass
        return not refresh.failed

    async def _cancel(self) -> None:
        """Give up all refreshes; what was counted is kept."""
        tasks = [refresh.task for refresh in self._refreshes.values() if refresh.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for refresh in self._refreshes.values():
            await refresh.steps.aclose()
        self._refreshes.clear()

    async def remove_unused(self) -> None:
        """Remove facts and counts that no metric uses any more, and answers that are kept no longer.

        Forget statements with texts of persons, too, which another process may have erased.
        """
        self._database.forget_statements()
        async with self._database.write(durable=False) as session:
            await forget_answers_before(session, utc_now() - KEPT)
        async with self._database.read() as session:
            projects = await AccountRepository(session).projects()
        for project in projects:
            async with self._database.read() as session:
                experiments = await ExperimentRepository(session, project.id).all()
            await self._build_maintenance(project).remove_unused(experiments)
