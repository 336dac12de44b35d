"""Queries that are compiled once and executed by the driver, at a third of the cost of SQLAlchemy's execution.

They read one or a few rows by key, where building, compiling and dispatching a query costs many times what the database
needs for it. Build such a query once, with ``bindparam`` for values that change.
"""

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVarTuple

from sqlalchemy import (
    ARRAY,
    JSON,
    ColumnElement,
    Dialect,
    Insert,
    PoolProxiedConnection,
    Select,
    Update,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.util import await_, greenlet_spawn

from app.db.drivers import Driver, driver_of, terminated_on_timeout

Columns = TypeVarTuple("Columns")

_Convert = Callable[[Any], Any]
_Rows = Awaitable[Sequence[Sequence[Any]]]


@dataclass(frozen=True)
class CompiledQuery(Generic[*Columns]):
    """A query as text, with the conversions of its parameters and columns to and from the driver."""

    text: str
    parameters: Sequence[tuple[str, _Convert | None]]  # by name; None: no conversion
    constants: Mapping[str, object]
    conversions: Sequence[tuple[int, _Convert]]  # by position; other columns need none

    def values(self, parameters: Mapping[str, object]) -> list[object]:
        given = {**self.constants, **parameters}
        return [given[name] if convert is None else convert(given[name]) for name, convert in self.parameters]

    def rows(self, found: Sequence[Sequence[Any]]) -> Sequence[tuple[*Columns]]:
        return [self._row(values) for values in found] if self.conversions else list(map(tuple, found))

    def _row(self, values: Sequence[Any]) -> tuple[*Columns]:
        row = list(values)
        for place, convert in self.conversions:
            row[place] = convert(row[place])
        return tuple(row)


async def fetch(
    engine: AsyncEngine, query: Select[*Columns], parameters: Mapping[str, object], *, in_transaction: bool = False
) -> Sequence[tuple[*Columns]]:
    """Return the rows of a query that only reads.

    Without ``in_transaction`` the engine must be in autocommit mode. With it the query has a transaction of its own,
    during which a pooler in front of PostgreSQL stays on one server: preparing and executing are two requests.

    After an error the query is executed again by SQLAlchemy, which may succeed on another connection, and otherwise
    raises the error that callers handle.
    """
    compiled_query = compile_query(query, engine.dialect)
    values = compiled_query.values(parameters)
    execute = _request_in_transaction if in_transaction else _request

    def request(driver: Driver) -> _Rows:
        return execute(driver, compiled_query.text, values)

    def run() -> Sequence[tuple[*Columns]]:
        try:
            return compiled_query.rows(_run_on(engine.sync_engine.raw_connection(), request))
        except (PoolTimeout, TimeoutError):  # a retry would wait as long again
            raise
        except Exception:
            with engine.sync_engine.connect() as connection:
                return connection.execute(query, parameters).all()

    return await greenlet_spawn(run)  # one switch for checkout, query and return


async def fetch_within(
    session: AsyncSession, query: Select[*Columns], parameters: Mapping[str, object]
) -> Sequence[tuple[*Columns]]:
    """Return the rows of a query on the connection of a session, without a flush before it.

    On PostgreSQL it runs inside the session's transaction if a previous statement has begun it.
    """
    compiled_query = compile_query(query, session.get_bind().dialect)
    driver = await driver_of(session)
    return compiled_query.rows(await _request(driver, compiled_query.text, compiled_query.values(parameters)))


async def execute_within(
    session: AsyncSession, statement: Insert | Update, parameters: Sequence[Mapping[str, object]]
) -> None:
    """Execute a statement that returns nothing, for each of some parameters, inside the session's transaction.

    Raises
    ------
    RuntimeError
        When no previous statement has begun the transaction on PostgreSQL: this one would be committed by itself.
    """
    compiled = compile_query(statement, session.get_bind().dialect)
    driver, values = await driver_of(session), [compiled.values(one) for one in parameters]
    if session.get_bind().dialect.name == "postgresql" and not driver.is_in_transaction():
        raise RuntimeError("no statement has begun the transaction")
    if len(values) > 1 and hasattr(driver, "fetch"):  # asyncpg, which sends all of them at once
        with terminated_on_timeout(driver):
            await driver.executemany(compiled.text, values)
        return
    for one in values:
        await _request(driver, compiled.text, one)


def is_among(column: InstrumentedAttribute[Any], parameter: str, dialect_name: str) -> ColumnElement[bool]:
    """Return the condition that a column's value is in a list, which is bound as one parameter.

    The text of the query does not depend on the length of the list; with ``in_`` each length would be compiled and
    planned anew.
    """
    if dialect_name == "postgresql":
        return column == any_(bindparam(parameter, type_=ARRAY(column.type)))
    return column.in_(select(func.json_each(bindparam(parameter, type_=JSON)).table_valued("value").c.value))


async def _request(driver: Driver, text: str, values: Sequence[object]) -> Sequence[Sequence[Any]]:
    with terminated_on_timeout(driver):
        rows: _Rows = driver.fetch(text, *values) if hasattr(driver, "fetch") else driver.execute_fetchall(text, values)
        return await rows


async def _request_in_transaction(driver: Driver, text: str, values: Sequence[object]) -> Sequence[Sequence[Any]]:
    async with driver.transaction(readonly=True):
        return await _request(driver, text, values)


def _run_on(connection: PoolProxiedConnection, request: Callable[[Driver], _Rows]) -> Sequence[Sequence[Any]]:
    try:
        found = await_(request(connection.driver_connection))
    except BaseException:  # also on cancellation: a response may still be on its way
        connection.invalidate()
        raise
    connection.close()
    return found


@functools.lru_cache(maxsize=256)
def compile_query(query: Select[*Columns] | Insert | Update, dialect: Dialect) -> CompiledQuery[*Columns]:
    compiled = query.compile(dialect=dialect)
    columns = query.selected_columns if isinstance(query, Select) else ()
    from_driver = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
    return CompiledQuery(
        text=compiled.string,
        parameters=[
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup or ()
        ],
        constants=compiled.params,
        conversions=[(place, convert) for place, convert in enumerate(from_driver) if convert is not None],
    )
