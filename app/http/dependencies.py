"""The database, the session and the time limit of a request.

Every dependency of the service is a coroutine: the framework runs others in a thread.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.common.errors import Unavailable
from app.db.database import Database
from app.http.request_body import read_bytes
from app.settings import Settings

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def get_database(request: Request) -> Database:
    """Return the database.

    A plain function, as is ``get_access``: solving a dependency, even a cached one, costs a fifth of a query.
    """
    database: Database = request.app.state.database
    return database


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """One request, one transaction: committed when the endpoint returns, undone when it raises."""
    if request.method in _SAFE_METHODS:
        async with get_database(request).read() as session:
            yield session
        return
    await read_bytes(request)  # first the slow part: a client that dawdles must not hold up other writers
    async with get_database(request).write() as session:
        yield session


# With the default scope a failed commit would be found after the client was told of success.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


async def limit_time(request: Request) -> AsyncIterator[None]:
    """Give up an answer that takes too long to be counted: a proxy in front would, and tell the client less.

    What has been matched and counted so far is kept, so that the next attempt goes on there.
    """
    settings: Settings = request.app.state.settings
    deadline = asyncio.timeout(settings.results_timeout)
    try:
        async with deadline:
            yield
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise Unavailable("Results are still being counted. Please try again.", retry_after=10) from error


# For everything that an endpoint counts together, its waiting for a turn included.
LimitedTimeDep = Annotated[None, Depends(limit_time, scope="function")]
