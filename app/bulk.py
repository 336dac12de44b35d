"""Many rows in, whole columns out: the two places where the databases' fast paths differ.

PostgreSQL speaks binary COPY; SQLite runs prepared statements over lists. Everything else is the same SQL on both.
"""

import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import aiosqlite
import asyncpg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Dialect, Double, Integer, Select, Table, insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.types import TypeEngine

from app.models import Base

Item = TypeVar("Item")
Row = tuple[object, ...]
Layout: TypeAlias = Mapping[str, str]  # numpy's name of each column's type
AddRows: TypeAlias = Callable[[NDArray[Any]], None]
Columns = Mapping[str, NDArray[np.int64] | NDArray[np.int32] | NDArray[np.float64]]

# Databases limit the bound values of a statement (SQLite 32,766, PostgreSQL 65,535).
_BOUND_VALUES = 5_000
_COPY_HEADER_BYTES = 19
_PIECE_BYTES = 4 * 1024 * 1024
_FETCH_ROWS = 10_000


def chunks(items: Sequence[Item], size: int = _BOUND_VALUES) -> Iterator[Sequence[Item]]:
    """Cut a sequence into pieces that fit into one statement."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def insert_rows(session: AsyncSession, model: type[Base], columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert rows; a row that is there already is an error."""
    if not rows:
        return
    if session.get_bind().dialect.name == "postgresql":
        async with _asyncpg(session) as driver:
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
        async with _asyncpg(session) as driver:
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

    Notes
    -----
    Rows become columns piece by piece as they arrive, so that beside the result little more than its widest column has
    to fit into memory.
    """
    layout = {column.name: _kind(column.type) for column in query.selected_columns}
    dialect = session.get_bind().dialect
    statement = str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    parts: dict[str, list[NDArray[Any]]] = {name: [np.empty(0, dtype=kind)] for name, kind in layout.items()}

    def add(rows: NDArray[Any]) -> None:
        for name, kind in layout.items():
            parts[name].append(rows[name].astype(kind))

    read = _copy_out if dialect.name == "postgresql" else _fetch
    await read(session, statement, layout, add)
    return {name: np.concatenate(parts.pop(name)) for name in layout}


def _kind(column_type: TypeEngine[object]) -> str:
    """Return numpy's name of a fixed-width column type."""
    if isinstance(column_type, BigInteger):
        return "i8"
    if isinstance(column_type, Integer):
        return "i4"
    if isinstance(column_type, Double):
        return "f8"
    raise TypeError(f"not a fixed-width column: {column_type!r}")


async def _copy_out(session: AsyncSession, statement: str, layout: Layout, add: AddRows) -> None:
    """Read PostgreSQL's binary COPY: rows of equal length, each value behind its own length."""
    record = np.dtype(
        [("field_count", ">i2")]
        + [field for name, kind in layout.items() for field in ((f"length of {name}", ">i4"), (name, f">{kind}"))]
    )
    buffer = bytearray()
    header_is_read = False

    async def receive(chunk: bytes) -> None:
        nonlocal header_is_read
        buffer.extend(chunk)
        if not header_is_read and len(buffer) >= _COPY_HEADER_BYTES:
            (extension_bytes,) = struct.unpack_from(">i", buffer, _COPY_HEADER_BYTES - 4)
            del buffer[: _COPY_HEADER_BYTES + extension_bytes]
            header_is_read = True
        if len(buffer) >= _PIECE_BYTES:
            add(_take_rows(buffer, record))

    async with _asyncpg(session) as driver:
        await driver.copy_from_query(statement, output=receive, format="binary")
    add(_take_rows(buffer, record))


def _take_rows(buffer: bytearray, record: np.dtype[Any]) -> NDArray[Any]:
    """Cut the complete rows off a buffer. What is left at the end, the trailer, is shorter than any row."""
    count = len(buffer) // record.itemsize
    rows = np.frombuffer(bytes(buffer[: count * record.itemsize]), record)
    del buffer[: count * record.itemsize]
    return rows


async def _fetch(session: AsyncSession, statement: str, layout: Layout, add: AddRows) -> None:
    """Read SQLite's rows as its own driver hands them over: the toolkit's row objects would double the time."""
    connection = await session.connection()
    driver = (await connection.get_raw_connection()).driver_connection
    if not isinstance(driver, aiosqlite.Connection):
        raise TypeError(f"expected a connection of aiosqlite, got {type(driver)!r}")
    record = np.dtype(list(layout.items()))
    async with driver.execute(statement) as cursor:
        while rows := list(await cursor.fetchmany(_FETCH_ROWS)):
            add(np.fromiter(rows, dtype=record, count=len(rows)))


@contextlib.asynccontextmanager
async def _asyncpg(session: AsyncSession) -> AsyncIterator[asyncpg.Connection]:
    """Yield the driver's connection inside the session's transaction, which a first statement must have begun.

    A server that does not answer in time loses the connection: to undo the transaction would be to wait once more.
    """
    connection: AsyncConnection = await session.connection()
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    if not isinstance(driver, asyncpg.Connection):
        raise TypeError(f"expected a connection of asyncpg, got {type(driver)!r}")
    try:
        yield driver
    except TimeoutError:
        driver.terminate()
        raise
