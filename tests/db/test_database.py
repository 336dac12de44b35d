"""Transactions: commit listeners, advisory locks and upserts."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import aiosqlite
import pytest
from sqlalchemy import select, text

from app.db.advisory_locks import ProjectLock, lock_project, wait_for_holders
from app.db.database import Database
from app.db.models import GroupType, Organization, User
from app.db.upserts import insert_if_absent, insert_or_update
from tests.support.service import Service


@pytest.mark.own_database  # which goes with its listeners
async def test_failing_commit_listener_does_not_fail_the_committed_transaction(
    service: Service, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[object] = []

    def fail(_info: Mapping[Any, Any]) -> None:
        raise RuntimeError("broken listener")

    def note(info: Mapping[Any, Any]) -> None:
        told.append(info.get("note"))

    database.on_commit(fail)
    database.on_commit(note)

    with caplog.at_level(logging.ERROR, logger="abacus"):
        async with database.write() as session:
            session.info["note"] = "seen"
            session.add(Organization(name="Committed"))

    async with database.read() as session:
        assert await session.scalar(select(Organization.name).where(Organization.name == "Committed"))
    assert told == ["seen"]
    [record] = [record for record in caplog.records if record.name == "abacus"]
    assert record.getMessage() == "commit listener failed"
    assert "broken listener" in str(record.exc_info)

    response = await service.post("/feature_flags/", {"key": "new"})
    assert response.status_code == 201
    assert response.headers["x-request-id"]
    assert len(told) > 1


async def test_commit_listeners_ignore_rolled_back_transactions(database: Database) -> None:
    told: list[object] = []
    database.on_commit(lambda info: told.append(info.get("note")))

    async def fail() -> None:
        async with database.write() as session:
            session.info["note"] = "undone"
            session.add(Organization(name="Undone"))
            raise RuntimeError("undo")

    with pytest.raises(RuntimeError, match="undo"):
        await fail()

    assert "undone" not in told  # the service may have committed something meanwhile


async def test_advisory_locks_of_postgresql_exclude_each_other_by_kind_and_project(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has one writer")
    append = ProjectLock.EVENT_APPEND
    async with database.write() as first, database.write() as second:
        await lock_project(first, append, 1, shared=True)
        await lock_project(second, append, 1, shared=True)
        await lock_project(second, append, 2)
        await lock_project(second, ProjectLock.IDENTITIES, 1)
        await wait_for_holders(database, append, 3)

        waiting = asyncio.create_task(wait_for_holders(database, append, 1))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
    await asyncio.wait_for(waiting, 10)


async def test_insert_if_absent_keeps_rows_that_exist(service: Service, database: Database) -> None:
    project = {"project_id": service.project_id}
    async with database.write() as session:
        await insert_if_absent(session, GroupType, [])
        await insert_if_absent(session, GroupType, [{**project, "name": "company", "type_index": 0}])
        rows = [{**project, "name": "company", "type_index": 1}, {**project, "name": "team", "type_index": 2}]
        await insert_if_absent(session, GroupType, rows)

        found = await session.execute(
            select(GroupType.name, GroupType.type_index).filter_by(**project).order_by(GroupType.type_index)
        )
        assert [tuple(row) for row in found] == [("company", 0), ("team", 2)]


@pytest.mark.parametrize(("limit", "name"), [("Z", "New"), ("A", "Old")])
async def test_insert_or_update_changes_a_row_that_satisfies_the_condition(
    database: Database, limit: str, name: str
) -> None:
    email = f"{uuid4()}@example.com"
    async with database.write() as session:
        for given in ("Old", "New"):
            await insert_or_update(
                session, User, {User.email: email}, {"first_name": given}, where=User.first_name < limit
            )

        assert (await session.scalars(select(User.first_name).where(User.email == email))).all() == [name]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_query_of_sqlite_is_one_call_of_its_driver(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    usual: Any = aiosqlite.Connection._execute

    async def counted(connection: aiosqlite.Connection, *call: object) -> object:
        calls.append(call)
        return await usual(connection, *call)

    async with database.read() as session:
        await session.execute(text("SELECT 1"))  # to get a connection takes more
        monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
        found = await session.execute(text("SELECT 2 AS two"))

    assert found.one() == (2,)
    assert len(calls) == 1
