"""Facts and events on a cluster of two shards: replicated and distributed by ClickHouse itself."""

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from app.common.timestamps import to_microseconds
from app.db import clickhouse_schema
from app.db.clickhouse import ClickHouse
from app.db.database import Database
from app.db.models import Event, Organization, Project
from app.events.appending.repository import NewEvent, NewEventRepository
from app.events.archive.archiver import EventArchiver
from app.metrics.counting import incremental
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.facts.moving import FactMove
from app.settings import Settings
from tests.metrics.counting.test_incremental import fact_queries, shown
from tests.support.clickhouse_cluster import NAME, ask, speaking_for, two_shards
from tests.support.postgresql import PostgresServer

pytestmark = [pytest.mark.system, pytest.mark.everything]

START = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)


@pytest.fixture
async def shards(tmp_path: Path) -> AsyncIterator[list[str]]:
    with two_shards(tmp_path) as addresses:
        yield addresses


async def test_counts_from_two_shards_equal_recomputed_and_moved_ones(
    shards: list[str], postgresql: PostgresServer, postgresql_template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"cluster_{uuid4().hex}"
    await postgresql.create_database(name, template=postgresql_template)
    monkeypatch.setattr(incremental, "FACTS_AT_ONCE", 1_000)
    async with speaking_for(shards) as port:
        clustered = Database(
            Settings(
                database_url=postgresql.url(name),
                clickhouse_url=f"http://127.0.0.1:{port}/abacus",
                clickhouse_cluster=NAME,
                database_statement_timeout=120,
            )
        )
        assert await clickhouse_schema.migrate(clustered) == len(clickhouse_schema.STEPS)
        project_id = await create_project(clustered)
        facts = FactService(clustered, Materializer(clustered, chunk=2_000), project_id)
        counted = []
        for round_ in range(2):
            await append(clustered, project_id, 3_000, round_)
            metrics = fact_queries(30)
            added = [shown(one) for one in await facts.counts(metrics)]
            counted = [shown(one) for one in await facts.counts(metrics, recompute=True)]
            assert repr(added) == repr(counted)
        rows = [int(await ask(one, "SELECT count() FROM abacus.fact_local")) for one in shards]
        assert min(rows) > 0.3 * sum(rows)
        assert sum(rows) == int(await ask(shards[1], "SELECT count() FROM abacus.fact"))

        assert clustered.clickhouse is not None
        async for _ in EventArchiver(clustered, clustered.clickhouse, project_id, batch=1_000).steps(dt.timedelta(0)):
            pass
        events = [int(await ask(one, "SELECT count() FROM abacus.event_local")) for one in shards]
        assert min(events) > 0.3 * sum(events)
        assert sum(events) == 6_000
        assert await kept(clustered) == 1  # the last one of all stays in PostgreSQL
        await facts.remove_unused([], older_than=dt.timedelta(0))
        made_again = [shown(one) for one in await facts.counts(fact_queries(30))]
        assert repr(made_again) == repr(counted)

        await FactMove(clustered, clustered.clickhouse, project_id, lambda _: None).from_clickhouse()
        moved = [shown(one) for one in await facts.counts(fact_queries(30), recompute=True)]
        assert repr(moved) == repr(counted)
        assert await left(clustered.clickhouse, "fact") == 0
        await EventArchiver(clustered, clustered.clickhouse, project_id).move_out()
        assert await left(clustered.clickhouse, "event") == 0
        assert await kept(clustered) == 6_000
        await clustered.close()


async def left(there: ClickHouse, table: str) -> int:
    return int(str(await there.execute(f"SELECT count() FROM {there.table(table)}")))


async def kept(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(Event)) or 0


async def create_project(database: Database) -> int:
    async with database.write() as session:
        organization = Organization(name="Example")
        session.add(organization)
        await session.flush()
        project = Project(organization_id=organization.id, name="Shop", timezone="UTC", api_token=uuid4().hex)
        session.add(project)
        await session.flush()
        return project.id


async def append(database: Database, project_id: int, count: int, round_: int) -> None:
    names = ("visit", "cart", "buy")
    events = []
    for number in range(count):
        time = to_microseconds(START + dt.timedelta(seconds=20 * number + round_))
        person = number % 700 + 1
        properties = f'{{"amount": {number % 7}, "$feature/checkout": "{("control", "test")[person % 2]}"}}'
        name = names[number // 700 % 3]
        events.append(NewEvent(uuid4(), name, str(person), person, time, time, properties))
    async with database.write() as session:
        await NewEventRepository(session, project_id).append(events)
