"""Liveness, readiness and schema probes, with the responses of PostHog's.

They query the database on a connection of their own and cache the result for a second, so that neither an exhausted
pool nor frequent probes make a process look worse than it is.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from app.db import clickhouse_schema
from app.db.clickhouse import ClickHouse, ClickHouseFailure
from app.db.engines import PROBE_SECONDS, create_probe_engine
from app.db.errors import DATABASE_ERRORS
from app.db.migrations import Revisions, SchemaTooNew, missing_tables, stored_revisions
from app.settings import Settings

logger = logging.getLogger("abacus")
router = APIRouter(include_in_schema=False)

_FRESH_SECONDS: Final = 1.0
_ROLES: Final = frozenset({"events", "web", "worker", "decide"})  # PostHog's processes; here one process has all roles
_NO_STORE: Final = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class DatabaseStatus:
    """What a probe of the database found."""

    is_reachable: bool
    is_migrated: bool
    has_clickhouse: bool | None = None  # None where the settings name none
    lacks_clickhouse: bool = False  # the settings name none, and other processes keep events or facts there


class HealthMonitor:
    """The health of one process: whether it drains, and the cached status of its database."""

    def __init__(self, settings: Settings) -> None:
        self.is_draining = False
        self.database_name = "sqlite" if settings.uses_sqlite else "postgres"
        self._engine = create_probe_engine(settings)
        self._clickhouse = ClickHouse(settings) if settings.clickhouse_url else None
        self._may_lack_clickhouse = settings.clickhouse_url is None and not settings.uses_sqlite
        self._revisions = Revisions.of(settings)
        self._lock = asyncio.Lock()
        self._status = DatabaseStatus(is_reachable=False, is_migrated=False)
        self._fresh_until = 0.0
        self._problem = ""

    def drain(self) -> None:
        """Report not ready from now on, so that load balancers send requests elsewhere before the process stops."""
        self.is_draining = True
        logger.info("draining: not ready from now on")

    async def database_status(self) -> DatabaseStatus:
        async with self._lock:
            if time.monotonic() >= self._fresh_until:
                status, has_clickhouse = await asyncio.gather(self._probe_database(), self._probe_clickhouse())
                self._status = replace(status, has_clickhouse=has_clickhouse)
                self._fresh_until = time.monotonic() + _FRESH_SECONDS
            return self._status

    async def _probe_database(self) -> DatabaseStatus:
        try:
            async with asyncio.timeout(PROBE_SECONDS), self._engine.connect() as connection:
                stored = await connection.run_sync(stored_revisions)
                is_newer = self._revisions.are_exceeded_by(stored)
                missing = await connection.run_sync(missing_tables) if is_newer else frozenset[str]()
                is_migrated = self._revisions.are_met_by(stored) and not missing
                lacks_clickhouse = (
                    is_migrated
                    and self._may_lack_clickhouse
                    and await connection.run_sync(clickhouse_schema.holds_data)
                )
        except DATABASE_ERRORS as error:
            cause = getattr(error, "orig", None) or error
            self._report(f"the database cannot be reached: {type(cause).__name__}: {cause}".partition("\n")[0])
            return DatabaseStatus(is_reachable=False, is_migrated=False)
        if missing:
            self._report(str(SchemaTooNew(missing)))
        elif lacks_clickhouse:
            self._report("events or facts are in ClickHouse: set ABACUS_CLICKHOUSE_URL as the other processes have it")
        else:
            self._report("" if is_migrated else "the schema is not migrated")
        return DatabaseStatus(is_reachable=True, is_migrated=is_migrated, lacks_clickhouse=lacks_clickhouse)

    async def _probe_clickhouse(self) -> bool | None:
        if self._clickhouse is None:
            return None
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._clickhouse.version()
        except (OSError, ClickHouseFailure):
            return False
        return True

    def _report(self, problem: str) -> None:
        """Log why the process is not ready, and that it is again: each once, because probes come every second."""
        if problem != self._problem:
            logger.log(
                logging.WARNING if problem else logging.INFO, "probe: %s", problem or "the database is ready again"
            )
        self._problem = problem

    async def close(self) -> None:
        await self._engine.dispose()
        if self._clickhouse is not None:
            await self._clickhouse.close()


@router.get("/_livez")
async def check_liveness() -> JSONResponse:
    """Answer without the database: restarting the process would not fix the database."""
    return JSONResponse({"http": True}, headers=_NO_STORE)


@router.get("/_readyz")
async def check_readiness(
    request: Request, role: str | None = None, exclude: Annotated[list[str] | None, Query()] = None
) -> JSONResponse:
    """Report whether each component works; excluded components are shown but do not affect the status.

    Nor does ClickHouse: without it capture and flags work, and results whose counts are up to date. A process that was
    not told of it, beside others that keep events or facts there, is not ready.
    """
    if role is not None and role not in _ROLES:
        return JSONResponse({"error": "InvalidRole"}, status_code=400, headers=_NO_STORE)
    health = _get_health(request)
    status = await health.database_status()
    components = {
        "http": not health.is_draining,
        health.database_name: status.is_reachable,
        f"{health.database_name}_migrations_uptodate": status.is_migrated,
    }
    if status.lacks_clickhouse:
        components["clickhouse"] = False
    is_ready = all(works for name, works in components.items() if name not in (exclude or ()))
    if status.has_clickhouse is not None:
        components["clickhouse"] = status.has_clickhouse
    return JSONResponse(components, status_code=200 if is_ready else 503, headers=_NO_STORE)


@router.get("/_health")
async def check_schema(request: Request) -> PlainTextResponse:
    """Report whether the schema is up to date."""
    status = await _get_health(request).database_status()
    if status.is_migrated:
        return PlainTextResponse("ok", headers=_NO_STORE)
    reason = "Migrations are not up to date" if status.is_reachable else "The database cannot be reached"
    return PlainTextResponse(reason, status_code=503, headers=_NO_STORE)


def _get_health(request: Request) -> HealthMonitor:
    health: HealthMonitor = request.app.state.health
    return health
