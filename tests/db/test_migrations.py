import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
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
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import JSON, Integer, TypeEngine

from app.db import migrations
from app.db.database import Database
from app.db.models import utc_now
from app.metrics.facts.series import EventSource, SeriesDefinition
from app.metrics.queries.scope import EXPOSURE_EVENTS
from app.properties.filters import parse_filter
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


def test_migrations_can_be_undone_and_done_again_and_make_what_the_models_say(empty: Settings) -> None:
    in_a_thread(lambda: migrations.upgrade(empty))
    in_a_thread(lambda: migrations.downgrade(empty, "base"))
    left = tables_in(empty)
    in_a_thread(lambda: migrations.upgrade(empty))

    assert left <= {"alembic_version", "sqlite_sequence"}
    in_a_thread(lambda: migrations.check(empty))  # raises, naming the difference


def tables_in(settings: Settings) -> set[str]:
    async def found() -> set[str]:
        database = Database(settings)
        async with database.engine.connect() as connection:
            names = await connection.run_sync(lambda connection: inspect(connection).get_table_names())
        await database.close()
        return set(names)

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, found()).result()


@pytest.fixture(scope="module", params=["0013", "head"])
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database of the revision before ids were never reused, and of the newest."""
    path = tmp_path_factory.mktemp("old") / "old.db"
    in_a_thread(lambda: migrations.upgrade(settings_for(f"sqlite:///{path}"), request.param))
    return path


@pytest.fixture
def filled(old: Path, tmp_path: Path) -> Iterator[tuple[Settings, Engine]]:
    """The same with a row in each table."""
    path = shutil.copy(old, tmp_path / "filled.db")
    settings = settings_for(f"sqlite:///{path}")
    engine = create_engine(f"sqlite:///{path}")
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


def content(connection: Connection, among: Collection[str] | None = None) -> dict[str, list[Any]]:
    """Return the row, columns, keys and indexes of each table."""
    found = {}
    for table in tables_of(connection):
        if among is not None and table.name not in among:
            continue  # a new table, which has no row yet
        pragmas = {
            kind: [tuple(row)[1:] for row in connection.exec_driver_sql(f'PRAGMA {kind}("{table.name}")')]
            for kind in ("table_info", "foreign_key_list")  # without their numbers
        }
        keys = {(key.name, *key.columns.keys()) for key in table.constraints if isinstance(key, UniqueConstraint)}
        indexes = {
            (index.name, index.unique, *index.columns.keys(), str(index.dialect_options["sqlite"]["where"]))
            for index in table.indexes
        }
        [row] = connection.execute(select(table)).mappings()
        foreign_keys = {key[1:] for key in pragmas["foreign_key_list"]}
        found[table.name] = [set(map(repr, row.items())), set(pragmas["table_info"]), foreign_keys, keys, indexes]
    return found


def test_upgrade_loses_no_row_index_or_foreign_key(filled: tuple[Settings, Engine]) -> None:
    """The revision that copies tables keeps all of them; later ones change indexes."""
    settings, engine = filled
    with engine.connect() as connection:
        before = content(connection)
        [stored] = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()

    in_a_thread(lambda: migrations.upgrade(settings, "0014" if stored == "0013" else "head"))

    with engine.connect() as connection:
        after = content(connection, before)
        lost = {
            (table, repr(part))
            for table, parts in before.items()
            for part, now in zip(parts, after[table], strict=True)
            if not part <= now
        }
        assert lost == set()
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    in_a_thread(lambda: migrations.upgrade(settings))
    in_a_thread(lambda: migrations.check(settings))


def test_id_of_a_deleted_row_is_not_used_again(filled: tuple[Settings, Engine]) -> None:
    settings, engine = filled
    in_a_thread(lambda: migrations.upgrade(settings))

    reused = []
    with engine.begin() as connection:
        for table in filter(has_generated_id, tables_of(connection)):
            row = connection.execute(select(table)).mappings().one_or_none()
            if row is None:
                continue  # a table that is newer than the row of each
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


@pytest.fixture(scope="module")
def before_both_events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database of the revision before facts of exposures came from two events."""
    path = tmp_path_factory.mktemp("before") / "old.db"
    in_a_thread(lambda: migrations.upgrade(settings_for(f"sqlite:///{path}"), "0017"))
    return path


@pytest.mark.parametrize(
    ("event", "events_since", "is_extended"), [(None, 0, True), (5, 0, False), (9, 0, True), (5, 1, True)]
)
def test_facts_of_exposures_go_on_with_both_events(
    before_both_events: Path, tmp_path: Path, event: int | None, events_since: int, *, is_extended: bool
) -> None:
    """Unless there are earlier events of the second name to count, and all events to count them from."""
    path = shutil.copy(before_both_events, tmp_path / "old.db")
    settings = settings_for(f"sqlite:///{path}")
    condition = parse_filter([{"key": "$feature_flag", "operator": "exact", "type": "event", "value": ["checkout"]}])
    old = SeriesDefinition((EventSource("$feature_flag_called", condition),), "$feature_flag_response")
    own = SeriesDefinition((EventSource("$feature_flag_called", condition),), "$feature/checkout")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        tables = {table.name: table for table in tables_of(connection)}
        for name in ("organization", "project"):
            row = {**least_row(tables[name], {"organization": 1}), "id": 1}
            insert_row(connection, tables[name], row | ({"events_since": events_since} if name == "project" else {}))
        for one in (old, own):
            row = least_row(tables["series"], {"project": 1})
            row |= {"digest": one.digest, "definition": one.canonical(), "watermark": 7}
            insert_row(connection, tables["series"], row)
        if event is not None:
            row = {**least_row(tables["event"], {}), "sequence": event, "project_id": 1}
            insert_row(connection, tables["event"], row | {"name": "$experiment_exposure"})

    in_a_thread(lambda: migrations.upgrade(settings, "0018"))

    both = SeriesDefinition(tuple(EventSource(name, condition) for name in EXPOSURE_EVENTS), "$feature_flag_response")
    with engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT digest, definition, watermark FROM series ORDER BY id").all()
    engine.dispose()
    first = both if is_extended else old
    assert [tuple(row) for row in stored] == [(one.digest, one.canonical(), 7) for one in (first, own)]


def rows_of(settings: Settings, query: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements, and return what a query finds then."""

    async def found() -> list[tuple[Any, ...]]:
        database = Database(settings)
        try:
            async with database.write() as session:
                for statement in statements:
                    await session.execute(text(statement))
                return [tuple(row) for row in await session.execute(text(query))]
        finally:
            await database.close()

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, found()).result()


def test_facts_are_the_same_in_every_layout(empty: Settings) -> None:
    """Of a series with values, of one without, and of one whose facts are still being made.

    A version that takes every row for one with a value does not find the later ones.
    """
    valued, plain = (
        SeriesDefinition((EventSource("a", parse_filter(None)),), None, value) for value in ("amount", None)
    )
    series = "INSERT INTO series (id, project_id, digest, definition, watermark, created_at) VALUES"
    no_number = "-9e999" if empty.uses_sqlite else "'-Infinity'"
    query = "SELECT series_id, sequence, person_id, time, value, variant FROM fact ORDER BY series_id, sequence"
    in_a_thread(lambda: migrations.upgrade(empty, "0031"))
    before = rows_of(
        empty,
        query,
        "INSERT INTO organization (id, uuid, name, created_at) VALUES"
        " (1, '00000000000000000000000000000001', 'o', '2026-11-01 00:00:00')",
        "INSERT INTO project (id, uuid, organization_id, name, timezone, api_token, created_at, updated_at) VALUES"
        " (1, '00000000000000000000000000000001', 1, 'p', 'UTC', 't', '2026-11-01 00:00:00', '2026-11-01 00:00:00')",
        *(
            f"{series} ({place}, 1, '{one.digest}', '{one.canonical()}', {place + 6}, '2026-11-01 00:00:00')"
            for place, one in enumerate((valued, plain), start=1)
        ),
        *(
            f"INSERT INTO fact VALUES ({place}, {sequence}, {9 - sequence}, {sequence * 10}, {value}, {sequence % 2})"
            for place, value in ((1, "1.5"), (2, no_number))
            for sequence in (4, 6, 7)
        ),
        f"INSERT INTO fact VALUES (1, 5, 3, 50, {no_number}, 0)",
    )

    in_a_thread(lambda: migrations.upgrade(empty))
    with pytest.raises(DBAPIError, match=r"fact.* does not exist|no such table: fact"):
        rows_of(empty, query)
    after = rows_of(empty, query.replace("FROM fact", "FROM series_fact"))
    reached = rows_of(empty, "SELECT id, watermark, bulk_until FROM series ORDER BY id")
    in_a_thread(lambda: migrations.downgrade(empty, "0031"))

    assert len(before) == 7
    assert [row[:4] + row[5:] for row in after] == [row[:4] + row[5:] for row in before]
    assert [row[4] for row in after if row[0] == 1] == [1.5, float("-inf"), 1.5, 1.5]
    assert {row[4] for row in after if row[0] == 2} <= {None, float("-inf")}
    assert reached == [(1, 7, 0 if empty.uses_sqlite else 7), (2, 8, 0 if empty.uses_sqlite else 8)]
    assert rows_of(empty, query) == before
    in_a_thread(lambda: migrations.upgrade(empty))
    in_a_thread(lambda: migrations.check(empty))
