"""The application on a database that will fail, with short timeouts."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
from starlette.datastructures import State

from app.db.database import Database
from app.settings import Settings
from tests.conftest import new_service
from tests.support.application import application
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


@contextlib.asynccontextmanager
async def running(database_url: str, **settings: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Database]]:
    """Run the application in this process; yield a client without a key, and its database."""
    limits = {
        "database_pool_timeout": 2,
        "database_statement_timeout": 20,
        "refresh_interval": 0,
        "watchdog_seconds": 0,
    } | settings
    served, before = application(), application().state
    served.state = State({"settings": Settings(database_url=database_url, **limits), "rate_limiter": None})
    transport = httpx.ASGITransport(app=served, raise_app_exceptions=False)
    try:
        async with (
            served.router.lifespan_context(served),
            httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as client,
        ):
            yield client, served.state.database
    finally:
        served.state = before


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
