"""The application on a database that will fail, with short timeouts."""

import contextlib
import functools
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import FastAPI

from app.db.database import Database
from app.main import create_app
from app.settings import Settings
from tests.conftest import new_service
from tests.support.service import Service

AWAY = {
    "type": "server_error",
    "code": "service_unavailable",
    "detail": "The database cannot be reached. Please try again.",
    "attr": None,
}
NOT_STORED = {
    "type": "server_error",
    "code": "server_error",
    "detail": "Unable to store event. Please try again. If you are the owner of this app you can check the logs for "
    "further details.",
    "attr": None,
}


@functools.cache
def _application() -> FastAPI:
    """The application without a database: to prepare its routes takes longer than most tests do."""
    return create_app(Settings())


@contextlib.asynccontextmanager
async def running(database_url: str, **settings: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Database]]:
    """Run the application in this process; yield a client without a key, and its database."""
    limits = {
        "database_pool_timeout": 2,
        "database_statement_timeout": 20,
        "refresh_interval": 0,
        "watchdog_seconds": 0,
    } | settings
    application = _application()
    application.state.settings = Settings(database_url=database_url, **limits)
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as client,
    ):
        yield client, application.state.database


@contextlib.asynccontextmanager
async def serving(database_url: str, **settings: Any) -> AsyncIterator[Service]:
    """The same, as the owner of a new project sees it."""
    async with running(database_url, **settings) as (client, database):
        service = await new_service(client, database)
        assert (await service.get("/")).status_code == 200  # notes the use of the key, once an hour
        yield service


def is_refused(response: httpx.Response, body: object = AWAY) -> bool:
    """Whether an answer says, in the documented form, that the client should come again."""
    return (response.status_code, response.headers.get("Retry-After"), response.json()) == (503, "1", body)


class Stopwatch:
    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
