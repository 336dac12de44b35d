"""PgBouncer in transaction mode: every transaction may get another connection to the server."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Select, literal_column, select, text

from app.db.database import Database
from app.main import create_app
from app.settings import Settings
from tests.conftest import new_service
from tests.support.ports import free_port
from tests.support.programs import require
from tests.support.service import Service, event, exposure

pytestmark = pytest.mark.own_database

CLIENTS = 12


THROUGH = pytest.param("through PgBouncer", marks=[pytest.mark.system, pytest.mark.everything])


@pytest.fixture(params=["directly", THROUGH])
def address(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[str]:
    """The address of the test's database, its own one and behind a PgBouncer that has two connections."""
    if request.param == "directly":
        yield database_url
        return
    program = require("pgbouncer")
    server = urlsplit(database_url)
    name = server.path.removeprefix("/")
    port = free_port()
    configuration = tmp_path / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n{name} = host=127.0.0.1 port={server.port} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
    )
    as_nobody = ["--user", "nobody"] if os.geteuid() == 0 else []  # it refuses to be root
    with (tmp_path / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen([program, *as_nobody, str(configuration)], stdout=log, stderr=log)
    try:
        yield server._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
async def application(address: str) -> AsyncIterator[FastAPI]:
    settings = Settings(database_url=address, database_pgbouncer=True, refresh_interval=0)
    application = create_app(settings)
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
async def service(client: httpx.AsyncClient, database: Database) -> Service:
    async with asyncio.timeout(10):
        while True:
            try:
                async with database.read() as session:
                    await session.execute(text("SELECT 1"))
                break
            except OSError:  # it is starting
                await asyncio.sleep(0.02)
    return await new_service(client, database)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_all_features_work_without_statements_left_on_the_server(service: Service, database: Database) -> None:
    experiment = await service.create_experiment()
    flags = {"token": service.token, "distinct_id": "0"}

    async def use(number: int) -> None:
        variant = ["control", "test"][number % 2]
        batch = [event("$pageview", f"{number}-{n}", variant=variant, properties={"$os": "Linux"}) for n in range(30)]
        await service.capture(*batch, exposure(f"{number}-0", variant))
        await service.capture(*(event("$pageview", f"{number}-0", variant=variant) for _ in range(300)))
        response = await service.client.post("/flags/", json=flags)
        assert response.status_code == 200, response.text
        for path in ("/experiments/", f"/experiments/{experiment['id']}/", "/persons/", "/events/", "/feature_flags/"):
            await service.read(path)
        [person, *_] = (await service.read("/persons/"))["results"]
        await service.read(f"/persons/{person['id']}/experiments/")

    await asyncio.gather(*(use(number) for number in range(CLIENTS)))
    results = await service.read(f"/experiments/{experiment['id']}/results/")

    assert sum(step[0]["count"] for step in results["insight"]) == CLIENTS * 30
    left: Select[*tuple[Any, ...]] = select(literal_column("name")).select_from(text("pg_prepared_statements"))
    assert await asyncio.gather(*(database.fetch(left, {}) for _ in range(CLIENTS))) == [[]] * CLIENTS
