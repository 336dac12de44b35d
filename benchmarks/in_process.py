"""The service inside of a benchmark's process, as the owner of a new project sees it."""

import contextlib
from collections.abc import AsyncIterator

import httpx
from sqlalchemy import delete

from app.db.database import Database
from app.db.models import Count
from app.main import create_app
from app.settings import Settings
from tests.conftest import new_service
from tests.support.service import Service


@contextlib.asynccontextmanager
async def serving(database: Database) -> AsyncIterator[Service]:
    """Serve a database through HTTP without a network, and without anything that happens by itself."""
    url = database.engine.url.render_as_string(hide_password=False)
    application = create_app(Settings(database_url=url, refresh_interval=0))
    transport = httpx.ASGITransport(app=application)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://abacus.test", timeout=600) as client,
    ):
        yield await new_service(client, database)


async def forget_counts(database: Database) -> None:
    """Leave nothing to add to: everything is counted from the facts."""
    async with database.write() as session:
        await session.execute(delete(Count))
