"""A database that many tests share, each with a project of its own.

Its ids begin far above those that tests write down to name what does not exist, and each table's elsewhere: an id of
one table that is taken for one of another finds nothing.
"""

import asyncio

from sqlalchemy import Connection, Integer, Table, text

from app.db.database import Database
from app.db.models import Base
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
    tables = [table for table in Base.metadata.sorted_tables if has_generated_id(table)]
    for number, table in enumerate(tables, start=1):
        if connection.dialect.name == "postgresql":
            statement = text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :first)")
            values = {"name": f'"{table.name}"', "first": number * _STEP}
        else:
            statement = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :first)")
            values = {"name": table.name, "first": number * _STEP}
        connection.execute(statement, values)


def has_generated_id(table: Table) -> bool:
    key = table.primary_key.columns.values()
    return [column.name for column in key] == ["id"] and isinstance(key[0].type, Integer)
