"""A database that many tests share, each with a project of its own.

Its ids begin far above those that tests write down to name what does not exist, and each table's elsewhere: an id of
one table that is taken for one of another finds nothing.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from sqlalchemy import Boolean, Column, Connection, Integer, LargeBinary, Table, insert, text
from sqlalchemy.types import JSON, TypeEngine

from app.db.database import Database
from app.db.models import Base, utc_now
from app.db.models.base import UtcDateTime
from app.settings import Settings

_STEP = 1_000_000


def separate_ids(settings: Settings) -> None:
    """Let the ids of every table of a new database begin at a million of their own."""
    asyncio.run(_separate_ids(settings))


async def _separate_ids(settings: Settings) -> None:
    database = Database(settings)
    async with database.engine.begin() as connection:
        await connection.run_sync(_move_ids)
    await database.close()


def _move_ids(connection: Connection) -> None:
    tables = [table for table in Base.metadata.sorted_tables if _has_generated_id(table)]
    first = {table.name: number * _STEP for number, table in enumerate(tables, start=1)}
    for table in tables:
        if connection.dialect.name == "postgresql":
            statement = text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :first)")
            connection.execute(statement, {"name": f'"{table.name}"', "first": first[table.name]})
        elif table.dialect_options["sqlite"]["autoincrement"]:
            statement = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :first)")
            connection.execute(statement, {"name": table.name, "first": first[table.name]})
        else:  # SQLite continues from the highest row
            connection.execute(insert(table).values(_row(table, first)))


def _has_generated_id(table: Table) -> bool:
    key = table.primary_key.columns.values()
    return [column.name for column in key] == ["id"] and isinstance(key[0].type, Integer)


def _row(table: Table, first: Mapping[str, int]) -> dict[str, Any]:
    """Return the least that a row needs, in relation with the first rows of other tables."""
    row: dict[str, Any] = {"id": first[table.name]}
    for column in table.columns:
        if column.name != "id" and not column.nullable and column.default is None and column.server_default is None:
            row[column.name] = _related(column, first) or _value(column.type)
    return row


def _related(column: Column[Any], first: Mapping[str, int]) -> int | None:
    for key in column.foreign_keys:
        return first[key.column.table.name]
    return None


def _value(kind: TypeEngine[Any]) -> object:
    if isinstance(kind, UtcDateTime):
        return utc_now()
    values = {Integer: 0, Boolean: False, JSON: {}, LargeBinary: b""}
    return next((value for known, value in values.items() if isinstance(kind, known)), uuid4().hex[:20])
