"""Backups made as the guide for operators says: a restored one has the same results."""

import sqlite3
import subprocess
from pathlib import Path

import pytest
from fastapi import FastAPI

from tests.conftest import run_apart, settings_for
from tests.support.postgresql import PostgresServer, binary
from tests.support.service import Service, event

pytestmark = pytest.mark.own_database


def back_up_sqlite(source: str, folder: Path) -> str:
    with sqlite3.connect(source.removeprefix("sqlite:///")) as connection:
        connection.execute(f"VACUUM INTO '{folder}/backup.db'")
    connection.close()
    return f"sqlite:///{folder}/backup.db"


def dump_and_restore(server: PostgresServer, source: str, folder: Path) -> str:
    dump, target = folder / "abacus.dump", server.url("restored")
    run_apart(server.create_database("restored"))
    subprocess.run([binary("pg_dump"), "--format=custom", f"--file={dump}", source], check=True)
    options = ["--exit-on-error", "--no-owner", "--single-transaction", f"--dbname={target}"]
    subprocess.run([binary("pg_restore"), *options, dump], check=True)
    return target


async def test_restored_backup_has_the_same_results_and_accepts_new_events(
    application: FastAPI, service: Service, database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    await service.capture(
        *(
            event("$pageview" if step == 0 else "purchase", f"{variant}-{number}", variant=variant)
            for variant in ("control", "test")
            for number in range(20)
            for step in range(1 + number % 2)
        )
    )
    results = f"/experiments/{(await service.create_experiment())['id']}/results/"
    before = await service.read(results)
    on_sqlite = database_url.startswith("sqlite")
    server: PostgresServer | None = None if on_sqlite else request.getfixturevalue("postgresql")

    if server is None:
        restored = back_up_sqlite(database_url, tmp_path)
    else:
        restored = dump_and_restore(server, database_url, tmp_path)

    application.state.settings = settings_for(restored)
    async with application.router.lifespan_context(application):
        assert await service.read(results) == before
        assert await service.read(results, refresh="true") == before
        await service.capture(event("purchase", "test-0", variant="test"))
        after = await service.read(results)
    if server is not None:
        run_apart(server.drop_database("restored"))
    assert {variant["key"]: variant["success_count"] for variant in after["variants"]} == {"control": 10, "test": 11}
