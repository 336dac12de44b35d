"""Acknowledged events are stored exactly once, whichever process is killed."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from app.accounts.projects.service import AccountService
from app.db import migrations
from app.db.database import Database
from app.operations.server import APPLICATION
from app.settings import Settings
from tests.conftest import in_a_thread, run_apart, settings_for
from tests.operations.outages.clients import Sender
from tests.operations.outages.processes import Serving
from tests.support.postgresql import PostgresServer

CLIENTS = 4
BETWEEN = 200  # events that are acknowledged before the next misfortune


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One that keeps what it has committed, as PostgreSQL does in production."""
    with PostgresServer.start(durable=True) as server:
        run_apart(server.create_database("abacus"))
        in_a_thread(lambda: migrations.upgrade(settings_for(server.url("abacus"))))
        yield server


async def new_token(settings: Settings) -> str:
    database = Database(settings)
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name="Shop", email="ann@example.com", organization_name="Example", timezone="UTC"
        )
    await database.close()
    return made.project.api_token


async def test_killed_workers_and_database_neither_lose_nor_duplicate_events(
    server: PostgresServer, tmp_path: Path
) -> None:
    url = server.url("abacus")
    token = await new_token(settings_for(url))
    workers = ("--workers", "2")
    with Serving(url, tmp_path / "log", *workers, application=APPLICATION, refresh_interval="0") as served:
        await asyncio.to_thread(served.wait_until_ready)
        sender = Sender(served.address, token)
        sending = asyncio.create_task(sender.run(CLIENTS))
        await sender.acknowledgements(BETWEEN)
        os.kill(served.workers()[0], signal.SIGKILL)
        await sender.acknowledgements(BETWEEN)
        server.kill()
        await sender.refusals(CLIENTS)
        await asyncio.to_thread(server.start_again)
        await sender.acknowledgements(BETWEEN)
        sender.stop()
        await sending
        assert served.stop() == 0

    assert sender.acknowledged == sender.sent
    assert await stored(url) == sorted(sender.sent)
    assert sender.answers.keys() <= {200, 503, "ReadError", "RemoteProtocolError", "ConnectError", "WriteError"}


async def stored(url: str) -> list[UUID]:
    """Return the events there are, and see that each belongs to the one person of its distinct id."""
    connection = await asyncpg.connect(url)
    strangers = await connection.fetchval(
        "SELECT count(*) FROM event e LEFT JOIN person_distinct_id d USING (project_id, distinct_id, person_id)"
        " WHERE d.person_id IS NULL"
    )
    rows = await connection.fetch("SELECT uuid FROM event ORDER BY uuid")
    await connection.close()
    assert strangers == 0
    return [UUID(str(row["uuid"])) for row in rows]
