"""The database, the session and the time limit of a request.

Every dependency is a coroutine, because the framework runs plain functions in a thread.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.common.errors import StillCounting, Unavailable
from app.common.ids import read_id
from app.common.progress import Progress
from app.db.database import Database
from app.http.request_body import prepare_body
from app.settings import Settings

logger = logging.getLogger("abacus")

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_NOT_DONE_IN_TIME = "The search was not done in time. Searches take turns: please try again."


def get_database(request: Request) -> Database:
    """Return the database.

    Called as a function and not as a dependency: resolving one, even cached, costs a fifth of a query.
    """
    database: Database = request.app.state.database
    return database


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """Yield the session of a request: committed when the endpoint returns, rolled back when it raises."""
    if request.method in _SAFE_METHODS:
        async with get_database(request).read() as session:
            yield session
        return
    await prepare_body(request)  # before the transaction: no slow client and no costly body may block other writers
    async with get_database(request).write(owner=request.path_params.get("project_id")) as session:
        yield session


# With the default scope the commit would follow the response, which would report success even if it fails.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


@contextlib.asynccontextmanager
async def time_limit(request: Request, *, at_most: float = math.inf, retry_after: int = 10) -> AsyncIterator[None]:
    """Cancel a request for results after ``results_timeout``, with a clearer response than a proxy's 504.

    What has been counted by then is kept, and counting goes on, so that the next attempt continues from there.
    """
    settings: Settings = request.app.state.settings
    seconds = min(settings.results_timeout, at_most)
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            yield
    except TimeoutError as error:
        if not deadline.expired():
            raise
        progress: Progress = request.app.state.materializer.progress
        project_id = read_id(request.path_params.get("project_id", ""))
        log = logger.warning if seconds == settings.results_timeout else logger.info
        log(
            "%s was not answered within %s s; under way in project %s: %s",
            request.url.path,
            seconds,
            project_id,
            progress.of(project_id),
        )
        raise StillCounting(progress.percent(project_id), retry_after=retry_after) from error


@contextlib.asynccontextmanager
async def search_slot(request: Request, project_id: int) -> AsyncIterator[None]:
    """Hold the process's slot for searches through rows; take it before the session of the request is used.

    The time limit of results includes the time to wait for it.
    """
    try:
        async with time_limit(request), get_database(request).search_slots.slot(project_id):
            yield
    except StillCounting as refusal:  # nothing of a search is kept, and none goes on
        raise Unavailable(_NOT_DONE_IN_TIME, retry_after=refusal.retry_after) from refusal


async def limit_time(request: Request) -> AsyncIterator[None]:
    """Limit the time of a request; see ``time_limit``."""
    async with time_limit(request):
        yield


# The limit includes the time to wait for an aggregation slot.
LimitedTimeDep = Annotated[None, Depends(limit_time, scope="function")]
