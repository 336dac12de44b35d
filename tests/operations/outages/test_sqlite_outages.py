"""SQLite is locked, full or read-only: clients are told when to retry, and it recovers."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event as listening

from app.db import migrations
from app.db.migrations import SchemaTooNew
from app.operations import probes, server
from tests.conftest import in_a_thread, new_service, settings_for
from tests.operations.outages.applications import NOT_STORED, Stopwatch, is_refused, running, serving
from tests.support.service import Service, event, exposure


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "abacus.db"
    in_a_thread(lambda: migrations.upgrade(settings_for(f"sqlite:///{path}")))
    return path


async def attempts(service: Service) -> tuple[httpx.Response, httpx.Response, httpx.Response]:
    """Read, change and capture."""
    return (
        await service.get("/experiments/"),
        await service.patch("/experiments/1/", {"name": "Other"}),
        await service.send([event("visit", "ann", properties={"text": "x" * 100_000})]),
    )


async def test_lock_of_another_process_is_waited_for_until_the_timeout(path: Path) -> None:
    async with serving(f"sqlite:///{path}", database_pool_timeout=0.2) as service:
        await service.create_experiment()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        stopwatch = Stopwatch()
        listed, changed, capture = await attempts(service)
        assert listed.status_code == 200
        assert is_refused(changed)
        assert is_refused(capture, NOT_STORED)
        assert 0.3 < stopwatch.seconds < 10
        other.execute("COMMIT")
        other.close()

        assert [response.status_code for response in await attempts(service)] == [200, 200, 200]


async def test_wait_for_the_writer_lock_times_out(path: Path) -> None:
    async with running(f"sqlite:///{path}", database_statement_timeout=0.2) as (client, database):
        capture = {"api_key": "phc_x", "event": "visit", "distinct_id": "ann"}
        async with database.write():
            assert is_refused(await client.post("/batch/", json=capture), NOT_STORED)

        assert (await client.post("/batch/", json=capture)).status_code == 401  # the token is none


@contextlib.asynccontextmanager
async def under_pragmas(path: Path) -> AsyncIterator[tuple[Service, list[str]]]:
    """Yield a service with an experiment, and a list: what is put in there is said to connections that write."""
    async with running(f"sqlite:///{path}") as (client, database):
        pragmas: list[str] = []

        def say(connection: Any, *_others: object) -> None:
            cursor = connection.cursor()
            for pragma in pragmas:
                cursor.execute(pragma)
            cursor.close()

        listening.listen(database.engine.sync_engine, "checkout", say)
        service = await new_service(client, database)
        await service.create_experiment()
        yield service, pragmas


async def test_full_disk_refuses_writes_and_keeps_data(path: Path) -> None:
    async with under_pragmas(path) as (service, pragmas):
        pragmas.append("PRAGMA max_page_count = 1")  # it cannot become less than there are
        listed, _, capture = await attempts(service)
        assert listed.status_code == 200
        assert is_refused(capture, NOT_STORED)
        assert (await service.read("/events/"))["results"] == []

        pragmas[:] = ["PRAGMA max_page_count = 1000000"]
        assert [response.status_code for response in await attempts(service)] == [200, 200, 200]
        assert len((await service.read("/events/"))["results"]) == 1


async def test_read_only_file_is_still_read(path: Path) -> None:
    async with under_pragmas(path) as (service, pragmas):
        pragmas.append("PRAGMA query_only = ON")
        listed, changed, capture = await attempts(service)
        assert listed.status_code == 200
        assert is_refused(changed)
        assert is_refused(capture, NOT_STORED)

        pragmas[:] = ["PRAGMA query_only = OFF"]
        assert [response.status_code for response in await attempts(service)] == [200, 200, 200]


async def test_probes_name_the_database(path: Path) -> None:
    async with running(f"sqlite:///{path}") as (client, _):
        ready = await client.get("/_readyz")
        assert (ready.status_code, ready.json()) == (
            200,
            {"http": True, "sqlite": True, "sqlite_migrations_uptodate": True},
        )
        told = await client.get("/_health")
        assert (told.status_code, told.text, told.headers["Cache-Control"]) == (200, "ok", "no-store")
        assert (await client.get("/_readyz?role=events")).status_code == 200
        unknown = await client.get("/_readyz?role=cook")
        assert (unknown.status_code, unknown.json()) == (400, {"error": "InvalidRole"})


async def test_schema_of_a_newer_version_is_accepted_and_unchanged(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as newer, newer:
        newer.execute("UPDATE alembic_version SET version_num = 'fromthefuture'")
        newer.execute("ALTER TABLE experiment ADD COLUMN mood TEXT")
    in_a_thread(lambda: migrations.upgrade(settings_for(f"sqlite:///{path}")))

    async with serving(f"sqlite:///{path}") as service:
        await service.create_experiment()
        assert (await service.patch("/experiments/1/", {"name": "Other"})).status_code == 200
        assert (await service.client.get("/_readyz")).status_code == 200
    with contextlib.closing(sqlite3.connect(path)) as newer:
        assert newer.execute("SELECT version_num FROM alembic_version").fetchall() == [("fromthefuture",)]


async def test_schema_that_a_newer_version_has_changed_is_refused(path: Path) -> None:
    """By the start and by readiness, and results fail: their table has another name."""
    with contextlib.closing(sqlite3.connect(path)) as newer, newer:
        newer.execute("UPDATE alembic_version SET version_num = 'fromthefuture'")
        newer.execute("ALTER TABLE series_fact RENAME TO series_fact_2")

    with pytest.raises(SchemaTooNew, match=r"\(no table series_fact\): start the newer version"):
        in_a_thread(lambda: migrations.upgrade(settings_for(f"sqlite:///{path}")))

    async with serving(f"sqlite:///{path}") as service:
        experiment = await service.create_experiment()
        await service.capture(exposure("ann", "test"))
        results = await service.get(f"/experiments/{experiment['id']}/results/")
        ready = await service.client.get("/_readyz")
    assert (results.status_code, results.json()["code"]) == (503, "service_unavailable")
    assert (ready.status_code, ready.json()["sqlite_migrations_uptodate"]) == (503, False)


async def test_each_reason_for_which_a_process_is_not_ready_is_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "abacus")
    monkeypatch.setattr(probes, "_FRESH_SECONDS", 0)
    changes = (
        "UPDATE alembic_version SET version_num = '0001'",
        "ALTER TABLE series_fact RENAME TO other",
        "UPDATE alembic_version SET version_num = 'fromthefuture'",
        "ALTER TABLE other RENAME TO series_fact",
    )
    async with running(f"sqlite:///{path}") as (client, _):
        for change in changes:
            with contextlib.closing(sqlite3.connect(path)) as other, other:
                other.execute(change)
            for _ in range(2):
                await client.get("/_readyz")

    logged = [one.getMessage() for one in caplog.records if one.getMessage().startswith("probe: ")]
    too_new = str(SchemaTooNew(["series_fact"]))
    expected = ["the schema is not migrated", too_new, "the database is ready again"]
    assert logged == [f"probe: {reason}" for reason in expected]


async def test_migration_beside_a_newer_schema_is_not_tried_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def refuse(_settings: object) -> None:
        raise SchemaTooNew(["series_fact"])

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        raise asyncio.CancelledError

    monkeypatch.setattr(migrations, "upgrade", refuse)
    monkeypatch.setattr(asyncio, "sleep", pause)
    with pytest.raises(asyncio.CancelledError):
        await server.migrate_when_possible(settings_for("sqlite:///unused.db"))

    assert pauses == [60]
