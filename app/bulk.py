"""Many rows in, whole columns out: the two places where the databases' fast paths differ.

PostgreSQL speaks binary COPY; SQLite runs prepared statements over lists. Everything else is the same SQL on both.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import asyncpg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Dialect, Double, Executable, Integer, Select, Table, insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.types import TypeEngine

from app.models import Base

Item = TypeVar("Item")
Row = tuple[object, ...]
Columns = Mapping[str, NDArray[np.int64] | NDArray[np.int32] | NDArray[np.float64]]

# Databases limit the bound values of a statement (SQLite 32,766, PostgreSQL 65,535).
_BOUND_VALUES = 5_000
_COPY_HEADER_BYTES = 19
_COPY_TRAILER_BYTES = 2
_FETCH_ROWS = 50_000


def chunks(items: Sequence[Item], size: int = _BOUND_VALUES) -> Iterator[Sequence[Item]]:
    """Cut a sequence into pieces that fit into one statement."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def insert_rows(session: AsyncSession, model: type[Base], columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert rows; a row that is there already is an error."""
    if not rows:
        return
    if session.get_bind().dialect.name == "postgresql":
        driver = await _asyncpg(session)
        await driver.copy_records_to_table(model.__tablename__, records=rows, columns=list(columns))
        return
    await session.execute(insert(table_of(model)), _as_mappings(columns, rows))


async def insert_missing_rows(
    session: AsyncSession, model: type[Base], columns: Sequence[str], rows: Sequence[Row]
) -> None:
    """Insert the rows whose unique keys are not taken; rows that are there already stay as they are."""
    if not rows:
        return
    dialect = session.get_bind().dialect
    if dialect.name == "postgresql":
        driver = await _asyncpg(session)
        await driver.execute(_unnest_statement(table_of(model), columns, dialect), *zip(*rows, strict=True))
        return
    await session.execute(sqlite_insert(table_of(model)).on_conflict_do_nothing(), _as_mappings(columns, rows))


def table_of(model: type[Base]) -> Table:
    """Return the table itself: statements on it skip the mapping's per-row work."""
    table = model.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{model.__name__} is not mapped to a table")
    return table


def _as_mappings(columns: Sequence[str], rows: Iterable[Row]) -> list[dict[str, object]]:
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _unnest_statement(table: Table, columns: Sequence[str], dialect: Dialect) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    arrays = ", ".join(
        f"${position}::{table.columns[name].type.compile(dialect)}[]" for position, name in enumerate(columns, start=1)
    )
    return f'INSERT INTO "{table.name}" ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING'  # noqa: S608


async def read_columns(session: AsyncSession, query: Select[*tuple[Any, ...]]) -> Columns:
    """Read a query of fixed-width columns that are never null into arrays.

    Parameters
    ----------
    query
        Selects ``Integer``, ``BigInteger`` and ``Double`` columns only; bound values must be numbers.

    Returns
    -------
    mapping of str to numpy.ndarray of shape (rows,)
        int32, int64 and float64 arrays, by column name.
    """
    names = [column.name for column in query.selected_columns]
    kinds = [_kind(column.type) for column in query.selected_columns]
    dialect = session.get_bind().dialect
    statement = str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    if dialect.name == "postgresql":
        return _parse_copy(await _copy_out(session, statement), names, kinds)
    return await _fetch_columns(session, query, names, kinds)


def _kind(column_type: TypeEngine[object]) -> str:
    """Return numpy's name of a fixed-width column type."""
    if isinstance(column_type, BigInteger):
        return "i8"
    if isinstance(column_type, Integer):
        return "i4"
    if isinstance(column_type, Double):
        return "f8"
    raise TypeError(f"not a fixed-width column: {column_type!r}")


async def _copy_out(session: AsyncSession, statement: str) -> bytes:
    driver = await _asyncpg(session)
    chunks: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        chunks.append(chunk)

    await driver.copy_from_query(statement, output=keep, format="binary")
    return b"".join(chunks)


def _parse_copy(data: bytes, names: Sequence[str], kinds: Sequence[str]) -> Columns:
    """Read PostgreSQL's binary COPY format: rows of equal length, each value behind its own length."""
    (extension_bytes,) = struct.unpack_from(">i", data, _COPY_HEADER_BYTES - 4)
    start = _COPY_HEADER_BYTES + extension_bytes
    layout: list[tuple[str, str]] = [("field_count", ">i2")]
    for name, kind in zip(names, kinds, strict=True):
        layout += [(f"length_of_{name}", ">i4"), (name, f">{kind}")]
    record = np.dtype(layout)
    count = (len(data) - start - _COPY_TRAILER_BYTES) // record.itemsize
    rows = np.frombuffer(data, record, count=count, offset=start)
    return {name: rows[name].astype(kind) for name, kind in zip(names, kinds, strict=True)}


async def _fetch_columns(
    session: AsyncSession, query: Executable, names: Sequence[str], kinds: Sequence[str]
) -> Columns:
    record = np.dtype(list(zip(names, kinds, strict=True)))
    result = await (await session.connection()).execute(query)
    parts = []
    while rows := result.fetchmany(_FETCH_ROWS):
        parts.append(np.fromiter(map(tuple, rows), dtype=record, count=len(rows)))
    table = np.concatenate(parts) if parts else np.empty(0, dtype=record)
    return {name: np.ascontiguousarray(table[name]) for name in names}


async def _asyncpg(session: AsyncSession) -> asyncpg.Connection:
    """Return the driver's connection inside the session's transaction, which a first statement must have begun."""
    connection: AsyncConnection = await session.connection()
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    if not isinstance(driver, asyncpg.Connection):
        raise TypeError(f"expected a connection of asyncpg, got {type(driver)!r}")
    return driver
