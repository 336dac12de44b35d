"""Probes: is the process alive, can it serve, is its schema up to date. As PostHog answers them.

They ask the database on a connection of their own and remember the answer for a second, so that neither a full pool nor
many who ask make a process look worse than it is.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from app.db.engines import PROBE_SECONDS, create_probe_engine
from app.db.errors import DATABASE_ERRORS
from app.db.migrations import Revisions, stored_revisions
from app.settings import Settings

router = APIRouter(include_in_schema=False)

_FRESH_SECONDS: Final = 1.0
_ROLES: Final = frozenset({"events", "web", "worker", "decide"})  # of PostHog's processes; here one does it all
_NOT_STORED: Final = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class Condition:
    """What a look at the database found."""

    is_reachable: bool
    is_migrated: bool


class Health:
    """Of one process."""

    def __init__(self, settings: Settings) -> None:
        self.is_draining = False
        self.database_name = "sqlite" if settings.uses_sqlite else "postgres"
        self._engine = create_probe_engine(settings)
        self._revisions = Revisions.of(settings)
        self._look = asyncio.Lock()
        self._condition = Condition(is_reachable=False, is_migrated=False)
        self._fresh_until = 0.0

    def drain(self) -> None:
        """Have load balancers go elsewhere: the process has been asked to stop, and does so in a moment."""
        self.is_draining = True

    async def condition(self) -> Condition:
        async with self._look:
            if time.monotonic() >= self._fresh_until:
                self._condition = await self._find_condition()
                self._fresh_until = time.monotonic() + _FRESH_SECONDS
            return self._condition

    async def _find_condition(self) -> Condition:
        try:
            async with asyncio.timeout(PROBE_SECONDS), self._engine.connect() as connection:
                stored = await connection.run_sync(stored_revisions)
        except DATABASE_ERRORS:
            return Condition(is_reachable=False, is_migrated=False)
        return Condition(is_reachable=True, is_migrated=self._revisions.are_met_by(stored))

    async def close(self) -> None:
        await self._engine.dispose()


@router.get("/_livez")
async def check_liveness() -> JSONResponse:
    """Answer without touching the database: a restart does not mend a database."""
    return JSONResponse({"http": True}, headers=_NOT_STORED)


@router.get("/_readyz")
async def check_readiness(
    request: Request, role: str | None = None, exclude: Annotated[list[str] | None, Query()] = None
) -> JSONResponse:
    """Say of each component whether it works; those that are excluded are shown and do not count."""
    if role is not None and role not in _ROLES:
        return JSONResponse({"error": "InvalidRole"}, status_code=400, headers=_NOT_STORED)
    health = _health_of(request)
    condition = await health.condition()
    components = {
        "http": not health.is_draining,
        health.database_name: condition.is_reachable,
        f"{health.database_name}_migrations_uptodate": condition.is_migrated,
    }
    is_ready = all(works for name, works in components.items() if name not in (exclude or ()))
    return JSONResponse(components, status_code=200 if is_ready else 503, headers=_NOT_STORED)


@router.get("/_health")
async def check_schema(request: Request) -> PlainTextResponse:
    condition = await _health_of(request).condition()
    if condition.is_migrated:
        return PlainTextResponse("ok", headers=_NOT_STORED)
    told = "Migrations are not up to date" if condition.is_reachable else "The database cannot be reached"
    return PlainTextResponse(told, status_code=503, headers=_NOT_STORED)


def _health_of(request: Request) -> Health:
    health: Health = request.app.state.health
    return health
