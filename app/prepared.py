"""Queries compiled once and given to the driver as they are: a third of what SQLAlchemy's own execution costs.

Made for reading one or a few rows by key, where building, compiling and dispatching a query costs many times what the
database does for it. Build such a query once, with ``bindparam`` for what changes.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVarTuple

from sqlalchemy import Dialect, PoolProxiedConnection, Select
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_, greenlet_spawn

Columns = TypeVarTuple("Columns")

_Convert = Callable[[Any], Any]


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
    engine: AsyncEngine, query: Select[*Columns], parameters: Mapping[str, object]
) -> Sequence[tuple[*Columns]]:
    """Return the rows of a query that only reads; the engine must be in autocommit mode.

    Whatever goes wrong is left to SQLAlchemy: the query is made again in the ordinary way, which may well succeed on
    another connection, and otherwise raises the error that callers know.
    """
    prepared = _prepare(query, engine.dialect)
    values = prepared.values(parameters)

    def run() -> Sequence[tuple[*Columns]]:
        try:
            return prepared.rows(_ask(engine.sync_engine.raw_connection(), prepared.text, values))
        except (PoolTimeout, TimeoutError):  # trying again would wait as long again
            raise
        except Exception:
            with engine.sync_engine.connect() as connection:
                return connection.execute(query, parameters).all()

    return await greenlet_spawn(run)  # taking a connection, asking and giving it back in one go


def _ask(connection: PoolProxiedConnection, text: str, values: Sequence[object]) -> Sequence[Sequence[Any]]:
    driver: Any = connection.driver_connection  # asyncpg's or aiosqlite's
    try:
        asked = driver.fetch(text, *values) if hasattr(driver, "fetch") else driver.execute_fetchall(text, values)
        found: Sequence[Sequence[Any]] = await_(asked)
    except BaseException as error:  # also when the request is cancelled: an answer may still be under way
        if isinstance(error, TimeoutError) and hasattr(driver, "terminate"):
            driver.terminate()  # to end the connection in order, one would have to wait for the server once more
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
