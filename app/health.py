"""Probes: is the process alive, and can it serve."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from app.database import Database

router = APIRouter(include_in_schema=False)

PING_SECONDS = 1.0


@router.get("/_livez")
async def check_liveness() -> JSONResponse:
    """Answer without touching the database: a restart does not mend a database."""
    return JSONResponse({"http": True}, headers={"Cache-Control": "no-store"})


@router.get("/_readyz")
async def check_readiness(request: Request) -> JSONResponse:
    database: Database = request.app.state.database
    try:
        async with asyncio.timeout(PING_SECONDS):
            await database.ping()
        reachable = True
    except (OSError, TimeoutError, SQLAlchemyError):
        reachable = False
    return JSONResponse(
        {"http": True, "database": reachable},
        status_code=200 if reachable else 503,
        headers={"Cache-Control": "no-store"},
    )
