"""Statements to ClickHouse that take longer than a statement may."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from app.db import clickhouse
from app.db.clickhouse import ClickHouse
from app.db.database import Database
from app.metrics.facts.clickhouse_records import to_records
from tests.support.service import Service

pytestmark = [
    pytest.mark.clickhouse("always"),
    pytest.mark.parametrize("database_url", ["clickhouse"], indirect=True),
]

Execute = Callable[..., Awaitable[object]]


@pytest.fixture
def there(database: Database, monkeypatch: pytest.MonkeyPatch) -> ClickHouse:
    monkeypatch.setattr(clickhouse, "_SECONDS_BETWEEN_LOOKS", 0.0)
    assert database.clickhouse is not None
    return database.clickhouse


async def insert_one(there: ClickHouse, service: Service) -> str:
    """Insert a fact of a series with the number of the project; return what is true of it."""
    await there.insert("fact", to_records(service.project_id, [(service.project_id, 1, 1, 1, 1.0, 0)]), uuid4().hex)
    return f"series = {service.project_id}"


async def count(there: ClickHouse, condition: str) -> object:
    return await there.execute(f"SELECT count() FROM {there.table('fact')} WHERE {condition}")


async def test_removal_is_waited_for_after_its_statement_was_given_up(
    service: Service, there: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    condition = await insert_one(there, service)
    execute, under_way, looks = there.execute, list[str](), 0

    async def slow(statement: str, settings: Any = None) -> object:
        nonlocal looks
        if statement.startswith("ALTER"):
            under_way.append(statement)
            raise TimeoutError
        if "system.mutations" in statement and under_way:
            looks += 1
            if looks == 3:
                await execute(under_way.pop(), {"mutations_sync": 2})
            return 1
        return await execute(statement, settings)

    monkeypatch.setattr(there, "execute", slow)
    await there.remove("fact", condition)

    assert (looks, await count(there, condition)) == (3, 0)


async def test_removal_that_never_arrived_fails(
    service: Service, there: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    condition, execute = await insert_one(there, service), there.execute

    async def lossy(statement: str, settings: Any = None) -> object:
        if statement.startswith("ALTER"):
            raise TimeoutError
        return await execute(statement, settings)

    monkeypatch.setattr(there, "execute", lossy)
    with pytest.raises(TimeoutError):
        await there.remove("fact", condition)

    assert await count(there, condition) == 1
