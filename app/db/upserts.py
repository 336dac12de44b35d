"""INSERT ... ON CONFLICT, which SQLAlchemy spells per database.

For thousands of rows ``app.db.bulk.insert_missing_rows`` does the same through the driver.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.db.compiled_queries import execute_within
from app.db.models import Base

Values = Mapping[str, Any]  # values of any type, by column name


async def insert_if_absent(session: AsyncSession, model: type[Base], rows: Sequence[Values]) -> None:
    """Insert the rows whose unique keys are not taken; rows that exist stay as they are."""
    if rows:
        await session.execute(_insert(session, model).on_conflict_do_nothing(), list(rows))


async def insert_or_add(
    session: AsyncSession, model: type[Base], rows: Sequence[Values], number: InstrumentedAttribute[int]
) -> None:
    """Insert rows, or add the number in a row to that of the one with the same primary key."""
    statement = _insert(session, model)
    added = {number.key: number + statement.excluded[number.key]}
    key = [column.name for column in inspect(model).primary_key]
    await session.execute(statement.on_conflict_do_update(index_elements=key, set_=added), list(rows))


async def insert_or_raise(
    session: AsyncSession, model: type[Base], rows: Sequence[Values], column: InstrumentedAttribute[Any]
) -> None:
    """Insert rows, or raise a column of the ones with the same primary keys to the value in a row, if that is larger.

    A value that is null is smaller than any other.
    """
    statement = _insert(session, model)
    excluded = statement.excluded[column.key]
    key = [one.name for one in inspect(model).primary_key]
    statement = statement.on_conflict_do_update(
        index_elements=key, set_={column.key: excluded}, where=(column < excluded) | column.is_(None)
    )
    await session.execute(statement, list(rows))


async def insert_or_advance(
    session: AsyncSession,
    model: type[Base],
    rows: Sequence[Values],
    key: Sequence[InstrumentedAttribute[Any]],
    rising: Sequence[InstrumentedAttribute[Any]],
) -> None:
    """Insert rows, or give the ones with the same unique keys the new values, unless a ``rising`` one would fall."""
    names = tuple(rows[0])
    statement = _advancing_insert(session.get_bind().dialect.name, model, names, tuple(key), tuple(rising))
    await execute_within(session, statement, rows)


@functools.lru_cache(maxsize=64)
def _advancing_insert(
    dialect_name: str,
    model: type[Base],
    names: Sequence[str],
    key: Sequence[InstrumentedAttribute[Any]],
    rising: Sequence[InstrumentedAttribute[Any]],
) -> postgresql.Insert | sqlite.Insert:
    types = {column.key: column.type for column in model.__table__.columns}
    insert = _insert_on(dialect_name, model).values({name: bindparam(name, type_=types[name]) for name in names})
    excluded, keys = insert.excluded, {column.key for column in key}
    return insert.on_conflict_do_update(
        index_elements=list(key),
        set_={name: excluded[name] for name in names if name not in keys},
        where=and_(*(column <= excluded[column.key] for column in rising)),
    )


async def insert_or_update(
    session: AsyncSession,
    model: type[Base],
    key: Mapping[InstrumentedAttribute[Any], object],
    values: Values,
    *,
    where: ColumnElement[bool],
) -> None:
    """Insert a row, or give the row with the same unique key the new values if it satisfies a condition."""
    await session.execute(
        _insert(session, model)
        .values({**{column.key: value for column, value in key.items()}, **values})
        .on_conflict_do_update(index_elements=list(key), set_=values, where=where)
    )


def _insert(session: AsyncSession, model: type[Base]) -> postgresql.Insert | sqlite.Insert:
    return _insert_on(session.get_bind().dialect.name, model)


def _insert_on(dialect_name: str, model: type[Base]) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(model) if dialect_name == "postgresql" else sqlite.insert(model)
