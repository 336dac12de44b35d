"""INSERT ... ON CONFLICT, which SQLAlchemy spells per database.

For thousands of rows ``app.db.bulk.insert_missing_rows`` does the same through the driver.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

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
    statement = _insert(session, model)
    excluded, keys = statement.excluded, {column.key for column in key}
    values = {name: excluded[name] for name in rows[0] if name not in keys}
    where = and_(*(column <= excluded[column.key] for column in rising))
    await session.execute(
        statement.on_conflict_do_update(index_elements=list(key), set_=values, where=where), list(rows)
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
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    return postgresql.insert(model) if is_postgresql else sqlite.insert(model)
