"""As many rows as have a number of bytes, of queries that are compiled once."""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.db.compiled_queries import compile_query, fetch_within
from app.db.drivers import postgresql_driver, sqlite_driver, terminated_on_timeout
from app.db.sizes import octets

Bound: TypeAlias = Mapping[str, object]


async def fetch_rows_by_size(
    session: AsyncSession,
    query: Select[*tuple[Any, ...]],
    order: InstrumentedAttribute[int],
    text: InstrumentedAttribute[str],
    limit: int,
    bound: Bound,
) -> tuple[Sequence[Sequence[Any]], bool]:
    """Return the first rows whose texts have at most ``limit`` bytes together, and whether there may be more.

    The query has numbers and texts alone, as the driver returns them, and the text is its last column. It is compiled
    once: build it once, with ``bindparam`` for what is ``bound``. At least one row is returned.
    """
    if session.get_bind().dialect.name == "postgresql":
        return await _fetch_by_running_total(session, query, order, text, limit, bound)
    compiled = compile_query(_in_order(query, order), session.get_bind().dialect)
    rows: list[Sequence[Any]] = []
    left = limit

    def collect(_cursor: object, row: Sequence[Any]) -> None:
        nonlocal left
        left -= len(row[-1]) if row[-1].isascii() else len(row[-1].encode())
        if left < 0 and rows:
            raise _FullError
        rows.append(row)

    # Rows are collected in the driver's thread as they are read, because the driver returns all or a fixed number.
    async with (await sqlite_driver(session)).execute(compiled.text, compiled.values(bound)) as cursor:
        cursor.row_factory = cast("Any", collect)
        try:
            await cursor.fetchall()
        except _FullError as full:
            full.with_traceback(None)  # it holds the frames that hold the rows, until garbage is collected
            return rows, True
    return rows, False


class _FullError(Exception):
    """The rows that were read have as many bytes as were asked for."""


async def _fetch_by_running_total(
    session: AsyncSession,
    query: Select[*tuple[Any, ...]],
    order: InstrumentedAttribute[int],
    text: InstrumentedAttribute[str],
    limit: int,
    bound: Bound,
) -> tuple[Sequence[Sequence[Any]], bool]:
    """Leave out rows by the running total of their bytes, for which PostgreSQL reads no large text."""
    rows = await fetch_within(session, _within_size(query, order, text, limit), bound)
    # Characters have up to four bytes. If all rows might have been left out behind these, there may be more.
    return rows, 4 * sum(len(row[-1]) for row in rows) > limit


@functools.lru_cache(maxsize=64)
def _in_order(query: Select[*tuple[Any, ...]], order: InstrumentedAttribute[int]) -> Select[*tuple[Any, ...]]:
    return query.order_by(order)


@functools.lru_cache(maxsize=64)
def _within_size(
    query: Select[*tuple[Any, ...]], order: InstrumentedAttribute[int], text: InstrumentedAttribute[str], limit: int
) -> Select[*tuple[Any, ...]]:
    """Return the query of the first rows whose texts have at most ``limit`` bytes together, and at least of one."""
    # Limited before the totals: otherwise they would be made of all later rows.
    first = query.order_by(order).subquery()
    place, size = first.c[order.key], octets(first.c[text.key])
    sized = select(first, func.sum(size).over(order_by=place, rows=(None, 0)).label("total")).subquery()
    fits = (sized.c.total <= limit) | (sized.c.total == octets(sized.c[text.key]))  # the latter of the first row
    columns = [column for column in sized.c if column.name != "total"]
    return select(*columns).where(fits).order_by(sized.c[order.key])


async def copy_rows_by_size(
    session: AsyncSession,
    query: Select[*tuple[Any, ...]],
    order: InstrumentedAttribute[int],
    text: InstrumentedAttribute[str],
    limit: int,
    bound: Bound,
) -> bytes:
    """Return the first rows as ``fetch_rows_by_size`` does, as PostgreSQL prints them: without an object for a value.

    Each row is a line, its values are separated by tabs, and backslash, tab, line break and the like are escaped by a
    backslash.
    """
    compiled = compile_query(_within_size(query, order, text, limit), session.get_bind().dialect)
    pieces: list[bytes] = []

    async def receive(piece: bytes) -> None:
        pieces.append(piece)

    driver = await postgresql_driver(session)
    with terminated_on_timeout(driver):
        await driver.copy_from_query(compiled.text, *compiled.values(bound), output=receive, format="text")
    return await asyncio.to_thread(b"".join, pieces)
