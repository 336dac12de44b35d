"""Runs the work of a command on a database."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.db import migrations
from app.db.database import Database
from app.operations import preflight
from app.settings import Settings

T = TypeVar("T")


def with_database(work: Callable[[Database], Awaitable[T]]) -> T:
    """Run work on a database; an SQLite file is migrated first, as ``serve`` does."""
    settings = Settings.from_environment()
    preflight.check_database_file(settings)
    if settings.uses_sqlite:
        migrations.upgrade(settings)

    async def run() -> T:
        database = Database(settings)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())
