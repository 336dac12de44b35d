import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    Float,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    create_engine,
    delete,
    insert,
    select,
)
from sqlalchemy.types import JSON, Integer, TypeEngine

from app.db import migrations
from app.db.models import utc_now
from app.settings import Settings
from tests.conftest import in_a_thread, run_apart, settings_for
from tests.support.postgresql import PostgresServer
from tests.support.shared_database import has_generated_id


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


def test_models_and_the_migrated_schema_agree(empty: Settings) -> None:
    in_a_thread(lambda: migrations.upgrade(empty))

    in_a_thread(lambda: migrations.check(empty))  # raises, naming the difference


def test_migrations_can_be_undone_and_done_again(empty: Settings) -> None:
    in_a_thread(lambda: migrations.upgrade(empty))
    in_a_thread(lambda: migrations.downgrade(empty, "base"))
    in_a_thread(lambda: migrations.upgrade(empty))

    in_a_thread(lambda: migrations.check(empty))


def test_downgrade_removes_every_table(tmp_path: Path) -> None:
    settings = settings_for(f"sqlite:///{tmp_path / 'empty.db'}")
    in_a_thread(lambda: migrations.upgrade(settings))
    in_a_thread(lambda: migrations.downgrade(settings, "base"))

    tables = sqlite3.connect(tmp_path / "empty.db").execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    assert {name for (name,) in tables} <= {"alembic_version", "sqlite_sequence"}


@pytest.fixture(params=["0013", "head"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Settings, Engine]]:
    """An SQLite database of the revision before ids were never reused, and of the newest, with a row in each table."""
    settings = settings_for(f"sqlite:///{tmp_path / 'filled.db'}")
    in_a_thread(lambda: migrations.upgrade(settings, request.param))
    engine = create_engine(f"sqlite:///{tmp_path / 'filled.db'}")
    with engine.begin() as connection:
        ids: dict[str, int] = {}
        for table in tables_of(connection):
            ids[table.name] = insert_row(connection, table, least_row(table, ids))
    yield settings, engine
    engine.dispose()


def tables_of(connection: Connection) -> list[Table]:
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if not table.name.startswith(("alembic_", "sqlite_"))]


def insert_row(connection: Connection, table: Table, row: Mapping[str, Any]) -> int:
    """Return the row's key, or the first part of it."""
    key = connection.execute(insert(table).values(row)).inserted_primary_key
    assert key is not None
    return int(key[0]) if isinstance(key[0], int) else 0


def least_row(table: Table, ids: Mapping[str, int]) -> dict[str, Any]:
    """Return the least that a row needs, in relation with rows of other tables."""
    generated = {"id"} if has_generated_id(table) else set()
    required = (column for column in table.columns if not column.nullable and column.name not in generated)
    return {column.name: related_id(column, ids) or value_of(column.type) for column in required}


def related_id(column: Column[Any], ids: Mapping[str, int]) -> int | None:
    return next((ids[key.column.table.name] for key in column.foreign_keys), None)


def value_of(kind: TypeEngine[Any]) -> object:
    values = {Boolean: False, Integer: 7, Float: 0.0, JSON: {}, LargeBinary: b"", DateTime: utc_now()}
    return next((value for known, value in values.items() if isinstance(kind, known)), uuid4().hex)


def content(connection: Connection) -> dict[str, object]:
    """Return the rows, columns, keys and indexes of each table."""
    found: dict[str, object] = {}
    for table in tables_of(connection):
        pragmas = {
            kind: [tuple(row)[1:] for row in connection.exec_driver_sql(f'PRAGMA {kind}("{table.name}")')]
            for kind in ("table_info", "foreign_key_list")  # without their numbers
        }
        keys = {(key.name, *key.columns.keys()) for key in table.constraints if isinstance(key, UniqueConstraint)}
        indexes = {
            (index.name, index.unique, *index.columns.keys(), str(index.dialect_options["sqlite"]["where"]))
            for index in table.indexes
        }
        rows = [tuple(row) for row in connection.execute(select(table))]
        foreign_keys = {key[1:] for key in pragmas["foreign_key_list"]}
        found[table.name] = (rows, pragmas["table_info"], foreign_keys, keys, indexes)
    return found


def test_upgrade_loses_no_row_index_or_foreign_key(filled: tuple[Settings, Engine]) -> None:
    """The revision that copies tables keeps all of them; later ones change indexes."""
    settings, engine = filled
    with engine.connect() as connection:
        before = content(connection)
        [stored] = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()

    in_a_thread(lambda: migrations.upgrade(settings, "0014" if stored == "0013" else "head"))

    with engine.connect() as connection:
        assert content(connection) == before
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    in_a_thread(lambda: migrations.upgrade(settings))
    in_a_thread(lambda: migrations.check(settings))


def test_id_of_a_deleted_row_is_not_used_again(filled: tuple[Settings, Engine]) -> None:
    settings, engine = filled
    in_a_thread(lambda: migrations.upgrade(settings))

    reused = []
    with engine.begin() as connection:
        for table in filter(has_generated_id, tables_of(connection)):
            row = connection.execute(select(table)).mappings().one()
            connection.execute(delete(table))
            if insert_row(connection, table, {name: row[name] for name in row if name != "id"}) <= row["id"]:
                reused.append(table.name)

    assert reused == []


def test_upgrade_does_not_use_ids_again_that_the_activity_log_names(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    in_a_thread(lambda: migrations.upgrade(settings_for(f"sqlite:///{path}"), "0013"))
    with contextlib.closing(sqlite3.connect(path)) as database:
        for scope, item_id in (("Experiment", 7), ("FeatureFlag", 9)):  # items that were deleted since
            database.execute(
                "INSERT INTO activity_entry (project_id, scope, item_id, activity, detail, created_at)"
                " VALUES (1, ?, ?, 'created', '{}', '2026-11-01 00:00:00')",
                (scope, item_id),
            )
        database.commit()

    in_a_thread(lambda: migrations.upgrade(settings_for(f"sqlite:///{path}")))

    with contextlib.closing(sqlite3.connect(path)) as database:
        last = dict(database.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    assert (last["experiment"], last["feature_flag"]) == (7, 9)
