"""Bulk inserts of rows and bulk reads of columns, through the drivers.

PostgreSQL uses binary COPY, SQLite prepared statements over lists, and texts of whole numbers. All other SQL is the
same on both.
"""

import asyncio
import contextlib
import functools
import re
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias, TypeVar

import aiosqlite
import asyncpg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Dialect, Double, FromClause, Integer, Select, Table, func, select
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler, SQLiteDialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from app.db.drivers import postgresql_driver, sqlite_driver, terminated_on_timeout
from app.db.models import Base

Item = TypeVar("Item")
Row = tuple[object, ...]
Layout: TypeAlias = Mapping[str, str]  # numpy's name of each column's type
AddRows: TypeAlias = Callable[[NDArray[Any] | Mapping[str, NDArray[np.int64]]], None]
Columns = Mapping[str, NDArray[np.int64] | NDArray[np.int32] | NDArray[np.float64]]

# Databases limit the bound values of a statement (SQLite 32,766, PostgreSQL 65,535).
_BOUND_VALUES = 5_000
# From this many rows on, COPY saves more than the two round trips of its savepoint cost.
_COPIED_ROWS = 200
_COPY_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_COPY_HEADER_BYTES = 19
_COPY_TRAILER = b"\xff\xff"
_PIECE_BYTES = 1024 * 1024
_FETCH_ROWS = 10_000
_NULL = -1  # in place of a length
_SHORT_TEXT = 50_000  # characters, which are read in a millisecond


class _HintedSQLiteCompiler(SQLiteCompiler):
    """Writes the hints of ``Select.with_hint``, such as ``INDEXED BY``, which SQLAlchemy leaves out for SQLite."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:  # noqa: ARG002  # the signature is SQLAlchemy's
        return text


class _HintedSQLiteDialect(SQLiteDialect):
    statement_compiler = _HintedSQLiteCompiler
    supports_statement_cache = True


# Dialects that write statements with named placeholders, and the placeholder of a list.
_DIALECTS: Mapping[str, Dialect] = {
    "postgresql": PGDialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]  # the library has no types for it
    "sqlite": _HintedSQLiteDialect(paramstyle="pyformat"),
}
_LIST = re.compile(r"__\[POSTCOMPILE_(\w+)\]")


def chunks(items: Sequence[Item], size: int = _BOUND_VALUES) -> Iterator[Sequence[Item]]:
    """Cut a sequence into pieces that fit into one statement."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def insert_rows(session: AsyncSession, model: type[Base], columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert rows; a row that already exists is an error."""
    if not rows:
        return
    converted = _for_driver(session.get_bind().dialect, model, columns, rows)
    if session.get_bind().dialect.name == "postgresql":
        await _copy_in(await postgresql_driver(session), model, columns, converted)
    else:
        await _execute_many(await sqlite_driver(session), _values_statement(model, columns), converted)


async def insert_columns(session: AsyncSession, model: type[Base], columns: Columns, nulls: Sequence[str] = ()) -> None:
    """Insert rows of fixed-width columns, from arrays; a row that exists already is an error.

    Parameters
    ----------
    columns
        Arrays of one length, by column name.
    nulls
        Columns that are null in all rows.
    """
    pieces = [slice(start, start + _FETCH_ROWS) for start in range(0, len(next(iter(columns.values()))), _FETCH_ROWS)]
    if session.get_bind().dialect.name == "postgresql":
        await _copy_columns_in(await postgresql_driver(session), table_of(model), columns, nulls, pieces)
        return
    driver, statement = await sqlite_driver(session), _values_statement(model, [*columns, *nulls])
    for rows in pieces:
        some = [values[rows].tolist() for values in columns.values()]
        some += [[None] * len(some[0]) for _ in nulls]
        await _execute_many(driver, statement, list(zip(*some, strict=True)))


async def _copy_columns_in(
    driver: asyncpg.Connection, table: Table, columns: Columns, nulls: Sequence[str], pieces: Sequence[slice]
) -> None:
    record = _record_of({name: _kind(table.columns[name].type) for name in columns}, nulls)

    async def binary() -> AsyncIterator[bytes]:
        yield _COPY_SIGNATURE + bytes(_COPY_HEADER_BYTES - len(_COPY_SIGNATURE))
        for rows in pieces:
            yield _to_copied(columns, nulls, rows, record)
        yield _COPY_TRAILER

    with terminated_on_timeout(driver):
        await driver.copy_to_table(table.name, source=binary(), columns=[*columns, *nulls], format="binary")


def _to_copied(columns: Columns, nulls: Sequence[str], rows: slice, record: np.dtype[Any]) -> bytes:
    some = {name: values[rows] for name, values in columns.items()}
    copied = np.empty(len(next(iter(some.values()))), record)
    copied["field_count"] = len(some) + len(nulls)
    for name in nulls:
        copied[f"length of {name}"] = _NULL
    for name, values in some.items():
        copied[f"length of {name}"] = record[name].itemsize
        copied[name] = values
    return copied.tobytes()


async def insert_missing_rows(
    session: AsyncSession, model: type[Base], columns: Sequence[str], rows: Sequence[Row]
) -> int:
    """Insert the rows whose unique keys are not taken; rows that exist stay as they are. Return how many are new.

    Many rows are first copied as if all were new, which takes half as long as INSERT ... ON CONFLICT. If one of them
    exists, the copy is rolled back to a savepoint, and INSERT ... ON CONFLICT follows.
    """
    if not rows:
        return 0
    dialect = session.get_bind().dialect
    converted = _for_driver(dialect, model, columns, rows)
    if dialect.name != "postgresql":
        statement = f"{_values_statement(model, columns)} ON CONFLICT DO NOTHING"
        return await _execute_many(await sqlite_driver(session), statement, converted)
    driver = await postgresql_driver(session)
    if len(rows) >= _COPIED_ROWS:
        with contextlib.suppress(asyncpg.UniqueViolationError):
            async with driver.transaction():  # a savepoint
                await _copy_in(driver, model, columns, converted)
            return len(rows)
    statement = _unnest_statement(table_of(model), columns, dialect)
    with terminated_on_timeout(driver):
        done = await driver.execute(statement, *zip(*converted, strict=True))
    return int(done.rpartition(" ")[2])  # "INSERT 0 12"


async def _copy_in(driver: asyncpg.Connection, model: type[Base], columns: Sequence[str], rows: Sequence[Row]) -> None:
    with terminated_on_timeout(driver):
        await driver.copy_records_to_table(model.__tablename__, records=rows, columns=list(columns))


async def _execute_many(driver: aiosqlite.Connection, statement: str, rows: Sequence[Row]) -> int:
    async with driver.executemany(statement, rows) as cursor:
        return cursor.rowcount


def table_of(model: type[Base]) -> Table:
    """Return the table of a model: statements on it skip the per-row work of the mapper."""
    table = model.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{model.__name__} is not mapped to a table")
    return table


def _for_driver(dialect: Dialect, model: type[Base], columns: Sequence[str], rows: Sequence[Row]) -> Sequence[Row]:
    """Convert the values of rows to what the driver of the database expects."""
    conversions = _conversions(dialect, model, tuple(columns))
    if not conversions:
        return rows
    converted = []
    for row in rows:
        values = list(row)
        for place, convert in conversions:
            values[place] = convert(values[place])
        converted.append(tuple(values))
    return converted


@functools.lru_cache(maxsize=256)
def _conversions(
    dialect: Dialect, model: type[Base], columns: tuple[str, ...]
) -> Sequence[tuple[int, Callable[[object], object]]]:
    types = [table_of(model).columns[name].type for name in columns]
    converters = [column_type.dialect_impl(dialect).bind_processor(dialect) for column_type in types]
    return [(place, convert) for place, convert in enumerate(converters) if convert is not None]


def _values_statement(model: type[Base], columns: Sequence[str]) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    return f'INSERT INTO "{model.__tablename__}" ({names}) VALUES ({", ".join("?" for _ in columns)})'  # noqa: S608  # our own names


def _unnest_statement(table: Table, columns: Sequence[str], dialect: Dialect) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    arrays = ", ".join(
        f"${position}::{table.columns[name].type.compile(dialect)}[]" for position, name in enumerate(columns, start=1)
    )
    return f'INSERT INTO "{table.name}" ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING'  # noqa: S608  # our own names


async def read_columns(
    session: AsyncSession, query: Select[*tuple[Any, ...]], numbers: Mapping[str, int | Sequence[int]]
) -> Columns:
    """Read a query of fixed-width columns that are never null into arrays.

    Parameters
    ----------
    query
        Selects only ``Integer``, ``BigInteger`` and ``Double`` columns. It is compiled once and cached: build it once,
        with ``bindparam`` for values that change (``expanding`` for a list).
    numbers
        The changing values, by name. They become part of the statement, because COPY does not take bound values.

    Returns
    -------
    mapping of str to numpy.ndarray of shape (rows,)
        int32, int64 and float64 arrays, by column name.

    Notes
    -----
    Rows are converted to columns in chunks as they arrive, so that memory holds little more than the result and a copy
    of its widest column. Only whole numbers of SQLite are in memory as text, too.
    """
    template = _template(query, session.get_bind().dialect.name)
    return await _read(session, template.statement(numbers), template.layout, is_of_texts=template.is_of_texts)


async def read_with_texts(session: AsyncSession, query: Select[*tuple[Any, ...]]) -> Columns:
    """Read what ``read_columns`` does, of a query with bound texts: all values become literals of the statement."""
    dialect, layout = session.get_bind().dialect, _layout_of(query)
    is_of_texts = _is_of_texts(layout, dialect.name)
    compiled = (_as_texts(query) if is_of_texts else query).compile(
        dialect=dialect, compile_kwargs={"literal_binds": True}
    )
    return await _read(session, compiled.string, layout, is_of_texts=is_of_texts)


async def _read(session: AsyncSession, statement: str, layout: Layout, *, is_of_texts: bool) -> Columns:
    if is_of_texts:
        return await _fetch_texts(session, statement, layout)
    gathered = _Gathered(layout)
    read = _copy_out if session.get_bind().dialect.name == "postgresql" else _fetch
    await read(session, statement, layout, gathered.add)
    return gathered.columns()


class _Gathered:
    """Columns, in the pieces in which they arrive."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._parts: dict[str, list[NDArray[Any]]] = {name: [np.empty(0, kind)] for name, kind in layout.items()}

    def add(self, rows: NDArray[Any] | Mapping[str, NDArray[np.int64]]) -> None:
        for name, kind in self.layout.items():
            self._parts[name].append(rows[name].astype(kind))

    def columns(self) -> Columns:
        return {name: np.concatenate(self._parts.pop(name)) for name in self.layout}


def _layout_of(query: Select[*tuple[Any, ...]]) -> Layout:
    return {column.name: _kind(column.type) for column in query.selected_columns}


@dataclass(frozen=True)
class _Template:
    """A query as text with placeholders for numbers, and the columns of its rows."""

    text: str
    constants: Mapping[str, int]
    layout: Layout
    is_of_texts: bool

    def statement(self, numbers: Mapping[str, int | Sequence[int]]) -> str:
        return self.text % {name: _literal(value) for name, value in {**self.constants, **numbers}.items()}


def _literal(value: int | Sequence[int]) -> str:
    return f"{value:d}" if isinstance(value, int) else ", ".join(f"{one:d}" for one in value)


@functools.lru_cache(maxsize=256)
def _template(query: Select[*tuple[Any, ...]], dialect_name: str) -> _Template:
    layout = _layout_of(query)
    is_of_texts = _is_of_texts(layout, dialect_name)
    compiled = (_as_texts(query) if is_of_texts else query).compile(dialect=_DIALECTS[dialect_name])
    return _Template(
        _LIST.sub(r"%(\1)s", compiled.string),
        {name: value for name, value in compiled.params.items() if value is not None},
        layout,
        is_of_texts,
    )


def _is_of_texts(layout: Layout, dialect_name: str) -> bool:
    return dialect_name == "sqlite" and all(kind.startswith("i") for kind in layout.values())


def _as_texts(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Return the query of one row that has a text of decimal numbers for each column of another one.

    A row then costs half of what it costs as a tuple, nearly all of it in the driver's thread, where no other thread
    waits for it. Doubles would lose digits.
    """
    return select(*(func.group_concat(column) for column in query.subquery().c))


def _kind(column_type: TypeEngine[object]) -> str:
    """Return numpy's name of a fixed-width column type."""
    if isinstance(column_type, BigInteger):
        return "i8"
    if isinstance(column_type, Integer):
        return "i4"
    if isinstance(column_type, Double):
        return "f8"
    raise TypeError(f"not a fixed-width column: {column_type!r}")


def _record_of(layout: Layout, nulls: Sequence[str] = ()) -> np.dtype[Any]:
    """Return the type of a row of PostgreSQL's binary COPY: each value is preceded by its length; a null is none."""
    fields = [((f"length of {name}", ">i4"), (name, f">{kind}")) for name, kind in layout.items()]
    missing = [(f"length of {name}", ">i4") for name in nulls]
    return np.dtype([("field_count", ">i2"), *chain.from_iterable(fields), *missing])


async def _copy_out(session: AsyncSession, statement: str, layout: Layout, add: AddRows) -> None:
    """Read PostgreSQL's binary COPY: rows of equal length."""
    record = _record_of(layout)
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

    driver = await postgresql_driver(session)
    with terminated_on_timeout(driver):
        await driver.copy_from_query(statement, output=receive, format="binary")
    add(_take_rows(buffer, record))


def _take_rows(buffer: bytearray, record: np.dtype[Any]) -> NDArray[Any]:
    """Remove the complete rows from a buffer and return them. The trailer at the end is shorter than any row."""
    count = len(buffer) // record.itemsize
    rows = np.frombuffer(bytes(buffer[: count * record.itemsize]), record)
    del buffer[: count * record.itemsize]
    return rows


async def _fetch(session: AsyncSession, statement: str, layout: Layout, add: AddRows) -> None:
    """Read the rows of SQLite from its driver: the row objects of SQLAlchemy would double the time."""
    driver = await sqlite_driver(session)
    record = np.dtype(list(layout.items()))
    async with driver.execute(statement) as cursor:
        while rows := list(await cursor.fetchmany(_FETCH_ROWS)):
            add(np.fromiter(rows, dtype=record, count=len(rows)))


async def _fetch_texts(session: AsyncSession, statement: str, layout: Layout) -> Columns:
    """Read the columns of SQLite that ``_as_texts`` makes."""
    [texts] = await (await sqlite_driver(session)).execute_fetchall(statement)

    def columns() -> Columns:
        return {
            name: np.fromstring(text or "", np.int64, sep=",").astype(kind, copy=False)
            for (name, kind), text in zip(layout.items(), texts, strict=True)
        }

    if sum(map(len, filter(None, texts))) < _SHORT_TEXT:
        return columns()
    return await asyncio.to_thread(columns)
