"""Queries compiled once and given to the driver as they are: a third of what SQLAlchemy's own execution costs.

Made for reading one or a few rows by key, where building, compiling and dispatching a query costs many times what the
database does for it. Build such a query once, with ``bindparam`` for what changes.
"""

import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVarTuple

from sqlalchemy import (
    ARRAY,
    JSON,
    ColumnElement,
    Dialect,
    PoolProxiedConnection,
    Select,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.util import await_, greenlet_spawn

Columns = TypeVarTuple("Columns")

# asyncpg's connection or aiosqlite's: they share no type.
Driver: TypeAlias = Any

_Convert = Callable[[Any], Any]
_Rows = Awaitable[Sequence[Sequence[Any]]]
_DRIVER = "driver"


@dataclass(frozen=True)
class _Prepared(Generic[*Columns]):
    """A query as text, and how values are turned into the driver's and back."""

    text: str
    parameters: Sequence[tuple[str, _Convert | None]]  # by name; None: the driver takes values as they are
    constants: Mapping[str, object]
    conversions: Sequence[tuple[int, _Convert]]  # by place; other columns are as they should be

    def values(self, parameters: Mapping[str, object]) -> list[object]:
        given = {**self.constants, **parameters}
        return [given[name] if convert is None else convert(given[name]) for name, convert in self.parameters]

    def rows(self, found: Sequence[Sequence[Any]]) -> Sequence[tuple[*Columns]]:
        return [self._row(values) for values in found]

    def _row(self, values: Sequence[Any]) -> tuple[*Columns]:
        row = list(values)
        for place, convert in self.conversions:
            row[place] = convert(row[place])
        return tuple(row)


async def fetch(
    engine: AsyncEngine, query: Select[*Columns], parameters: Mapping[str, object], *, in_transaction: bool = False
) -> Sequence[tuple[*Columns]]:
    """Return the rows of a query that only reads.

    Without ``in_transaction`` the engine must be in autocommit mode. With it the query has one of its own, as long as
    which a pooler between here and PostgreSQL keeps to one server: preparing and asking are two requests.

    Whatever goes wrong is left to SQLAlchemy: the query is made again in the ordinary way, which may well succeed on
    another connection, and otherwise raises the error that callers know.
    """
    prepared = _prepare(query, engine.dialect)
    values = prepared.values(parameters)
    ask = _request_in_transaction if in_transaction else _request

    def request(driver: Driver) -> _Rows:
        return ask(driver, prepared.text, values)

    def run() -> Sequence[tuple[*Columns]]:
        try:
            return prepared.rows(_ask(engine.sync_engine.raw_connection(), request))
        except (PoolTimeout, TimeoutError):  # trying again would wait as long again
            raise
        except Exception:
            with engine.sync_engine.connect() as connection:
                return connection.execute(query, parameters).all()

    return await greenlet_spawn(run)  # taking a connection, asking and giving it back in one go


async def fetch_within(
    session: AsyncSession, query: Select[*Columns], parameters: Mapping[str, object]
) -> Sequence[tuple[*Columns]]:
    """Return the rows of a query as the session's connection sees them; nothing is flushed before.

    On PostgreSQL that is inside the session's transaction once a first statement of the session has begun it.
    """
    prepared = _prepare(query, session.get_bind().dialect)
    driver = await driver_of(session)
    return prepared.rows(await _request(driver, prepared.text, prepared.values(parameters)))


async def driver_of(session: AsyncSession) -> Driver:
    """Return the driver's connection under a session, which keeps it until its one transaction ends."""
    driver = session.info.get(_DRIVER)
    if driver is None:
        connection = await session.connection()
        driver = session.info[_DRIVER] = (await connection.get_raw_connection()).driver_connection
    return driver


def is_among(column: InstrumentedAttribute[Any], parameter: str, dialect_name: str) -> ColumnElement[bool]:
    """Return the condition that a column's value is in a list, which is bound as one value.

    The query's text is the same however long the list is; ``in_`` makes another one, to be compiled and planned anew,
    for every length.
    """
    if dialect_name == "postgresql":
        return column == any_(bindparam(parameter, type_=ARRAY(column.type)))
    return column.in_(select(func.json_each(bindparam(parameter, type_=JSON)).table_valued("value").c.value))


@contextlib.contextmanager
def given_up_when_late(driver: Driver) -> Iterator[None]:
    """Give a connection up when its server does not answer in time: to end it in order would be to wait once more."""
    try:
        yield
    except TimeoutError:
        if hasattr(driver, "terminate"):
            driver.terminate()
        raise


async def _request(driver: Driver, text: str, values: Sequence[object]) -> Sequence[Sequence[Any]]:
    with given_up_when_late(driver):
        asked: _Rows = (
            driver.fetch(text, *values) if hasattr(driver, "fetch") else driver.execute_fetchall(text, values)
        )
        return await asked


async def _request_in_transaction(driver: Driver, text: str, values: Sequence[object]) -> Sequence[Sequence[Any]]:
    async with driver.transaction(readonly=True):
        return await _request(driver, text, values)


def _ask(connection: PoolProxiedConnection, request: Callable[[Driver], _Rows]) -> Sequence[Sequence[Any]]:
    try:
        found = await_(request(connection.driver_connection))
    except BaseException:  # also when the request is cancelled: an answer may still be under way
        connection.invalidate()
        raise
    connection.close()
    return found


@functools.lru_cache(maxsize=256)
def _prepare(query: Select[*Columns], dialect: Dialect) -> _Prepared[*Columns]:
    compiled = query.compile(dialect=dialect)
    from_driver = [
        column.type.dialect_impl(dialect).result_processor(dialect, None) for column in query.selected_columns
    ]
    return _Prepared(
        text=compiled.string,
        parameters=[
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup or ()
        ],
        constants=compiled.params,
        conversions=[(place, convert) for place, convert in enumerate(from_driver) if convert is not None],
    )
