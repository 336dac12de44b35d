"""Compiled queries: the same rows and errors as SQLAlchemy's own execution."""

import asyncio
import contextlib
import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Select, bindparam, literal_column, select, text
from sqlalchemy.exc import DBAPIError

from app.db.database import Database
from app.db.drivers import interrupted_after
from app.db.errors import is_statement_timeout
from app.db.models import Experiment, Project, User
from tests.support.service import Service

pytestmark = pytest.mark.own_database

EVERYTHING: Select[*tuple[Any, ...]] = (
    select(*Experiment.__table__.columns, *User.__table__.columns)
    .join(User, User.id == Experiment.created_by_id)
    .where(Experiment.created_at < bindparam("before", type_=Experiment.created_at.type), ~Experiment.archived)
    .order_by(Experiment.id)
    .limit(bindparam("limit"))
)


async def test_rows_equal_those_of_sqlalchemy(service: Service, database: Database) -> None:
    for number in range(3):
        await service.create_experiment(feature_flag_key=f"flag-{number}", end_date=None)
    parameters = {"before": dt.datetime.now(dt.UTC), "limit": 2}

    rows = await database.fetch(EVERYTHING, parameters)

    async with database.read() as session:
        assert rows == [tuple(row) for row in await session.execute(EVERYTHING, parameters)]
    assert len(rows) == 2


async def test_error_is_that_of_sqlalchemy_and_returns_the_connection(service: Service, database: Database) -> None:
    for _ in range(20):  # more than the pool has
        with pytest.raises(DBAPIError):
            await database.fetch(select(literal_column("nothing")), {})

    assert await database.fetch(select(Project.id), {}) == [(service.project_id,)]


async def test_cancelled_query_returns_its_connection(service: Service, database: Database) -> None:
    own = select(Project.id)
    for _ in range(20):  # more than the pool has
        waiting = asyncio.create_task(database.fetch(own, {}))
        await asyncio.sleep(0)  # it has asked by now
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    assert await database.fetch(own, {}) == [(service.project_id,)]


async def test_query_is_retried_when_the_server_closed_its_connection(service: Service, database: Database) -> None:
    own = select(Project.id)
    await database.fetch(own, {})
    if not database.is_sqlite:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        async with database.write() as session:
            await session.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))

    assert await database.fetch(own, {}) == [(service.project_id,)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_long_statement_of_sqlite_is_interrupted_and_rolled_back(database: Database) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) INSERT INTO numbers SELECT x FROM n"
    async with database.write() as session:
        await session.execute(text("CREATE TABLE numbers (x)"))

    async def write() -> None:
        async with database.write() as session, interrupted_after(session, 0.05):
            await session.execute(text("INSERT INTO numbers VALUES (0)"))
            await session.execute(text(endless))

    with pytest.raises(DBAPIError) as raised:
        await write()

    async with database.write() as session, interrupted_after(session, 60):
        assert (await session.execute(text("SELECT count(*) FROM numbers"))).scalar() == 0
    assert is_statement_timeout(raised.value)
