"""Facts and events in ClickHouse are there once when PostgreSQL fails, ClickHouse is killed, or the service is."""

import asyncio
import contextlib
import datetime as dt
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.db.errors import DATABASE_ERRORS
from app.db.models import Organization, Project
from app.events.archive.archiver import EventArchiver
from app.events.repository import EventRepository, NewEvent
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.settings import Settings
from tests.conftest import CLICKHOUSE_OF, database_beside_clickhouse
from tests.metrics.counting.test_incremental import shown
from tests.metrics.facts.test_clickhouse import METRICS, START
from tests.operations.outages.postgresql_proxy import Fault, PostgresProxy
from tests.support.clickhouse import ClickHouseServer
from tests.support.postgresql import PostgresServer

pytestmark = pytest.mark.exhaustive

MOST_STATEMENTS = 200
STATEMENTS = ("execute", "columns", "rows", "_insert")
CHUNK = 5


@pytest.fixture
def server() -> Iterator[ClickHouseServer]:
    """A server that may be killed."""
    own = ClickHouseServer.start()
    yield own
    own.stop()


@pytest.fixture
def url(postgresql: PostgresServer, postgresql_template: str, server: ClickHouseServer) -> Iterator[str]:
    with database_beside_clickhouse(postgresql, postgresql_template, server) as found:
        yield found


def settings_of(url: str) -> Settings:
    return Settings(
        database_url=url, clickhouse_url=CLICKHOUSE_OF[url], database_pool_timeout=30, database_statement_timeout=120
    )


async def create_project(database: Database) -> int:
    async with database.write() as session:
        organization = Organization(name="Example")
        session.add(organization)
        await session.flush()
        project = Project(organization_id=organization.id, name="Shop", timezone="UTC", api_token=uuid4().hex)
        session.add(project)
        await session.flush()
        return project.id


class Shop:
    """A project whose visits are sent and counted."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database, self._project_id, self._sent = database, project_id, 0

    async def send(self, count: int = 2 * CHUNK + 1) -> None:
        time = to_microseconds(START)
        events = [
            NewEvent(uuid4(), "visit", "ann", self._sent + number + 1, time, time, '{"$feature/checkout": "test"}')
            for number in range(count)
        ]
        async with self._database.write() as session:
            await EventRepository(session, self._project_id).append(events)
        self._sent += count

    async def count(self) -> None:
        """Move all events to ClickHouse, and count them."""
        await archive(self._database, self._project_id)
        facts = FactService(self._database, Materializer(self._database, chunk=CHUNK), self._project_id)
        counts = await facts.counts(METRICS)
        recounted = await facts.counts(METRICS, recompute=True)
        assert repr([shown(one) for one in counts]) == repr([shown(one) for one in recounted])
        assert int(counts[0].reached[:, 0].sum()) == int(counts[1].values.sum()) == self._sent


async def archive(database: Database, project_id: int) -> None:
    assert database.clickhouse is not None
    async for _ in EventArchiver(database, database.clickhouse, project_id, batch=CHUNK).steps(dt.timedelta(0)):
        pass


@pytest.mark.parametrize("fault", ["refuse", "die"])
async def test_whatever_statement_to_postgresql_fails_every_event_is_counted_once(
    postgresql: PostgresServer, url: str, fault: Fault
) -> None:
    async with PostgresProxy.before(postgresql.port) as proxy:
        through = f"postgresql://postgres@127.0.0.1:{proxy.port}{urlsplit(url).path}?ssl=disable"
        database = Database(
            settings_of(url).model_copy(update={"database_url": Settings(database_url=through).database_url})
        )
        shop = Shop(database, await create_project(database))
        struck = 0
        for number in range(1, MOST_STATEMENTS):
            await shop.send(CHUNK)
            proxy.fail(number, fault)
            with contextlib.suppress(*DATABASE_ERRORS):
                await shop.count()
            proxy.heal()
            if not proxy.has_struck:
                break
            struck += 1
            await shop.count()
        await database.close()
    assert struck > 10


async def test_killed_clickhouse_leaves_nothing_counted_twice(
    url: str, server: ClickHouseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(settings_of(url))
    there = database.clickhouse
    assert there is not None
    shop = Shop(database, await create_project(database))
    for place in range(1, 20, 3):
        await shop.send()
        left = [place]

        def kill_at(call: Callable[..., Awaitable[Any]], left: list[int] = left) -> Callable[..., Awaitable[Any]]:
            async def attempt(*arguments: Any, **options: Any) -> Any:
                answer = asyncio.ensure_future(call(*arguments, **options))
                left[0] -= 1
                if not left[0]:
                    await asyncio.sleep(0.005)  # it is on its way
                    server.kill()
                return await answer

            return attempt

        with monkeypatch.context() as patch:
            for name in STATEMENTS:
                patch.setattr(there, name, kill_at(getattr(there, name)))
            with contextlib.suppress(OSError):
                await shop.count()
        assert left[0] <= 0
        server.start_again()
        await shop.count()
    await database.close()


@pytest.mark.parametrize("place", [1, 2, 5, 7, 8, 10, 13])
@pytest.mark.parametrize("is_done_first", [False, True])
async def test_killed_service_leaves_nothing_counted_twice(url: str, place: int, is_done_first: bool) -> None:
    database = Database(settings_of(url))
    project_id = await create_project(database)
    shop = Shop(database, project_id)
    await shop.send()

    process = multiprocessing.get_context("spawn").Process(
        target=_count_until_killed, args=(url, CLICKHOUSE_OF[url], project_id, place, is_done_first)
    )
    process.start()
    await asyncio.to_thread(process.join, 60)
    assert process.exitcode == -signal.SIGKILL

    await shop.count()
    await database.close()


def _count_until_killed(url: str, clickhouse_url: str, project_id: int, place: int, is_done_first: bool) -> None:
    async def count() -> None:
        database = Database(Settings(database_url=url, clickhouse_url=clickhouse_url))
        there, left = database.clickhouse, [place]

        def kill_at(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def attempt(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if not left[0] and not is_done_first:
                    os.kill(os.getpid(), signal.SIGKILL)
                answer = await call(*arguments, **options)
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return answer

            return attempt

        for name in STATEMENTS:
            setattr(there, name, kill_at(getattr(there, name)))
        await archive(database, project_id)
        await FactService(database, Materializer(database, chunk=CHUNK), project_id).counts(METRICS)

    asyncio.run(count())
