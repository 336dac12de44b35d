"""PostgreSQL is down, hangs, is read-only or out of connections: clients are told when to retry, and it recovers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import asyncpg
import httpx
import pytest

from app.db import migrations
from app.db.database import Database
from app.settings import Settings
from tests.conftest import in_a_thread, run_apart, settings_for
from tests.operations.outages.applications import AWAY, NOT_STORED, Stopwatch, is_refused, running, serving
from tests.support.postgresql import PostgresServer
from tests.support.service import Service, event

# Beside the limits, for the work itself on a busy machine.
SLACK = 10.0
TEMPLATE = "abacus_template"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One of this module's own, to be ill-treated; durable, or a kill would take what it has committed."""
    with PostgresServer.start(durable=True) as server:
        run_apart(server.create_database(TEMPLATE))
        in_a_thread(lambda: migrations.upgrade(settings_for(server.url(TEMPLATE))))
        yield server


@pytest.fixture
async def url(server: PostgresServer) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex}"
    await server.create_database(name, template=TEMPLATE)
    yield server.url(name)
    await server.drop_database(name)


async def each_kind(service: Service) -> list[httpx.Response]:
    """Ask for what is read in one look, changed, stored, evaluated and counted, all at once."""
    experiment = {"name": "New", "feature_flag_key": uuid4().hex, "filters": {"insight": "TRENDS"}}
    flags = service.client.post("/flags/?v=2", json={"token": service.token, "distinct_id": "ann"})
    answers = await asyncio.gather(
        service.get("/experiments/"),
        service.post("/experiments/", experiment),
        service.get("/experiments/1/results/"),
        flags,
        service.send([event("visit", "ann")]),
    )
    return list(answers)


async def statuses(service: Service) -> list[int]:
    return [response.status_code for response in await each_kind(service)]


async def components(client: httpx.AsyncClient) -> tuple[int, dict[str, bool]]:
    response = await client.get("/_readyz")
    return response.status_code, response.json()


async def until_well(service: Service) -> None:
    """Wait until all is as it should be, which is not to take long."""
    stopwatch = Stopwatch()
    while await statuses(service) != [200, 201, 400, 200, 200]:  # 400: an experiment without data has no results
        assert stopwatch.seconds < 30
    while (await components(service.client))[0] != 200:
        assert stopwatch.seconds < 30
        await asyncio.sleep(0.05)


async def test_killed_server_makes_the_service_unavailable_until_it_is_back(server: PostgresServer, url: str) -> None:
    async with serving(url) as service:
        await service.create_experiment(start_date="2022-11-01T00:00:00Z")
        await until_well(service)
        server.kill()
        try:
            stopwatch = Stopwatch()
            for _ in range(4):  # first on connections that are found dead, then without any
                *others, capture = await each_kind(service)
                assert [is_refused(response) for response in others] == [True] * 4
                assert is_refused(capture, NOT_STORED)
            assert stopwatch.seconds < SLACK
            alive = await service.client.get("/_livez")
            await asyncio.sleep(1)  # probes remember for a second
            down = {"http": True, "postgres": False, "postgres_migrations_uptodate": False}
            assert (alive.status_code, await components(service.client)) == (200, (503, down))
        finally:
            server.start_again()
        await until_well(service)


async def test_hanging_server_times_out(server: PostgresServer, url: str) -> None:
    async with serving(url, database_statement_timeout=0.5) as service:
        await service.create_experiment(start_date="2022-11-01T00:00:00Z")
        await until_well(service)
        server.freeze()
        try:
            for _ in range(2):  # first on connections that are open, then without any
                stopwatch = Stopwatch()
                *others, capture = await each_kind(service)
                assert [is_refused(response) for response in others] == [True] * 4
                assert is_refused(capture, NOT_STORED)
                assert stopwatch.seconds < SLACK
            stopwatch = Stopwatch()
            assert (await components(service.client))[0] == 503
            assert stopwatch.seconds < SLACK
        finally:
            server.thaw()
        await until_well(service)


async def test_application_stops_while_the_server_hangs(server: PostgresServer, url: str) -> None:
    async with serving(url, database_statement_timeout=60) as service:
        asking = asyncio.create_task(each_kind(service))
        await asyncio.sleep(0.1)
        server.freeze()
        hanging = asyncio.create_task(each_kind(service))
        await asyncio.sleep(0.1)
        stopwatch = Stopwatch()
    try:
        assert stopwatch.seconds < 5 + SLACK
    finally:
        server.thaw()
        for task in (asking, hanging):
            task.cancel()
        await asyncio.gather(asking, hanging, return_exceptions=True)


async def test_server_that_became_a_replica_is_still_read(server: PostgresServer, url: str) -> None:
    async with serving(url) as service:
        await service.create_experiment(start_date="2022-11-01T00:00:00Z")
        await set_for_all(url, "default_transaction_read_only = on")
        listed, created, results, flags, capture = await each_kind(service)
        assert (listed.status_code, flags.status_code) == (200, 200)
        assert is_refused(created)
        assert is_refused(results)  # it has to store what it has counted
        assert is_refused(capture, NOT_STORED)

        await set_for_all(url, "default_transaction_read_only = off")
        await until_well(service)


async def set_for_all(url: str, setting: str) -> None:
    """Change a setting of the database, and end the connections that do not know it yet."""
    connection = await asyncpg.connect(url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute(f"ALTER DATABASE {name} SET {setting}")
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()", name
    )
    await connection.close()


async def test_exhausted_pool_is_reported_and_probes_succeed(url: str) -> None:
    async with running(url, database_pool_size=2, database_pool_timeout=0.5) as (client, database):
        capture = {"api_key": "phc_x", "event": "visit", "distinct_id": "ann"}
        async with database.write() as one, database.write() as other:
            await one.connection()
            await other.connection()
            stopwatch = Stopwatch()
            refused = await client.post("/batch/", json=capture)
            assert is_refused(refused, NOT_STORED)
            assert 0.4 < stopwatch.seconds < SLACK
            assert (await components(client))[0] == 200

        assert (await client.post("/batch/", json=capture)).status_code == 401  # the token is none


@pytest.mark.parametrize("are_repeated", [False, True])
async def test_results_leave_connections_for_capture(server: PostgresServer, url: str, are_repeated: bool) -> None:
    async with serving(url, database_pool_size=3, results_timeout=20) as service:
        await service.create_experiment(start_date="2022-11-01T00:00:00Z")
        await service.capture(event("$pageview", "ann", variant="control"), event("$pageview", "bob", variant="test"))
        if are_repeated:
            await service.read("/experiments/1/results/")
        holder = await asyncpg.connect(url)
        async with holder.transaction():
            await holder.execute("LOCK TABLE series IN ACCESS EXCLUSIVE MODE")  # so that results hang
            results = [asyncio.create_task(service.get("/experiments/1/results/")) for _ in range(10)]
            await asyncio.sleep(0.2)

            stopwatch = Stopwatch()
            await service.capture(event("visit", "ann"))
            assert (await service.get("/experiments/")).status_code == 200
            assert stopwatch.seconds < SLACK
        await holder.close()

        assert {response.status_code for response in await asyncio.gather(*results)} == {200}


async def test_results_that_time_out_say_when_to_retry(server: PostgresServer, url: str) -> None:
    async with serving(url, results_timeout=0.3) as service:
        await service.create_experiment(start_date="2022-11-01T00:00:00Z")
        holder = await asyncpg.connect(url)
        async with holder.transaction():
            await holder.execute("LOCK TABLE series IN ACCESS EXCLUSIVE MODE")
            late = await service.get("/experiments/1/results/")
        await holder.close()

        assert (late.status_code, late.headers["Retry-After"]) == (503, "10")
        assert late.json() == {**AWAY, "detail": "Results are still being counted. Please try again."}


async def test_statement_that_times_out_is_cancelled_on_the_server(url: str) -> None:
    async with serving(url, database_statement_timeout=1) as service:  # of a busy machine
        await service.create_experiment()
        holder = await asyncpg.connect(url)
        async with holder.transaction():
            await holder.execute("LOCK TABLE experiment IN ACCESS EXCLUSIVE MODE")
            assert is_refused(await service.patch("/experiments/1/", {"name": "Other"}))
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
            assert await holder.fetchval(waiting) == 1  # the one that asks
        await holder.close()
        assert (await service.patch("/experiments/1/", {"name": "Other"})).status_code == 200


async def test_idle_transaction_of_a_stuck_process_is_ended(url: str) -> None:
    stuck = Database(Settings(database_url=url, database_statement_timeout=0.5))
    async with serving(url, database_statement_timeout=20) as service:
        await service.create_experiment()
        async with stuck.engine.connect() as connection:
            await connection.exec_driver_sql("LOCK TABLE experiment IN ACCESS EXCLUSIVE MODE")

            assert (await service.patch("/experiments/1/", {"name": "Other"})).status_code == 200
            await connection.invalidate()
    await stuck.close()


async def test_service_starts_without_a_database_and_becomes_ready_with_it(server: PostgresServer) -> None:
    name = f"test_{uuid4().hex}"
    async with running(server.url(name), migrate_on_start=True) as (client, _):
        capture = {"api_key": "phc_x", "event": "visit", "distinct_id": "ann"}
        assert is_refused(await client.post("/batch/", json=capture), NOT_STORED)
        assert (await client.get("/_livez")).status_code == 200
        assert (await components(client))[0] == 503
        unknown = await client.get("/_health")
        assert (unknown.status_code, unknown.text) == (503, "The database cannot be reached")

        await server.create_database(name)
        stopwatch = Stopwatch()
        while (await components(client))[0] != 200:
            assert stopwatch.seconds < 30
            await asyncio.sleep(0.05)
        assert (await client.post("/batch/", json=capture)).status_code == 401
    await server.drop_database(name)


async def test_service_reports_a_schema_that_is_not_migrated(server: PostgresServer) -> None:
    name = f"test_{uuid4().hex}"
    await server.create_database(name)
    async with running(server.url(name)) as (client, _):
        behind = {"http": True, "postgres": True, "postgres_migrations_uptodate": False}
        told = await client.get("/_health")

        assert (told.status_code, told.text) == (503, "Migrations are not up to date")
        assert await components(client) == (503, behind)
        assert (await client.get("/_readyz?exclude=postgres_migrations_uptodate")).status_code == 200
        capture = {"api_key": "phc_x", "event": "visit", "distinct_id": "ann"}
        assert is_refused(await client.post("/batch/", json=capture), NOT_STORED)
    await server.drop_database(name)
