import sqlite3
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from app.db import migrations
from app.settings import Settings
from tests.conftest import in_a_thread, run_apart, settings_for
from tests.support.postgresql import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """A database without any table."""
    if request.param == "sqlite":
        yield settings_for(f"sqlite:///{tmp_path / 'empty.db'}")
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    name = f"empty_{uuid4().hex}"
    run_apart(server.create_database(name))
    yield settings_for(server.url(name))
    run_apart(server.drop_database(name))


def test_the_models_and_the_migrated_schema_agree(empty: Settings) -> None:
    in_a_thread(lambda: migrations.upgrade(empty))

    in_a_thread(lambda: migrations.check(empty))  # raises, naming the difference


def test_migrations_can_be_undone_and_done_again(empty: Settings) -> None:
    in_a_thread(lambda: migrations.upgrade(empty))
    in_a_thread(lambda: migrations.downgrade(empty, "base"))
    in_a_thread(lambda: migrations.upgrade(empty))

    in_a_thread(lambda: migrations.check(empty))


def test_a_downgrade_removes_every_table(tmp_path: Path) -> None:
    settings = settings_for(f"sqlite:///{tmp_path / 'empty.db'}")
    in_a_thread(lambda: migrations.upgrade(settings))
    in_a_thread(lambda: migrations.downgrade(settings, "base"))

    tables = sqlite3.connect(tmp_path / "empty.db").execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    assert {name for (name,) in tables} <= {"alembic_version", "sqlite_sequence"}
