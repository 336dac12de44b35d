"""Cursors of SQLite that need one call of the driver per statement.

aiosqlite makes each call in the thread of the connection, and waits for it: two switches between threads, which take
longer than most statements do. SQLAlchemy's own cursor makes four calls for a query: to open, execute, fetch and close.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from sqlalchemy import Dialect, event
from sqlalchemy.connectors.asyncio import AsyncIODBAPIConnection, AsyncIODBAPICursor
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection, AsyncAdapt_aiosqlite_cursor
from sqlalchemy.ext.asyncio import AsyncEngine

_Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]


def use_single_calls(engine: AsyncEngine) -> None:
    """Let the connections of an engine have these cursors."""
    event.listen(engine.sync_engine, "do_connect", _connect)


def _connect(
    dialect: Dialect, _record: object, arguments: Sequence[Any], options: dict[str, Any]
) -> "_SingleCallConnection":
    usual: Any = dialect.connect(*arguments, **options)
    return _SingleCallConnection(usual.dbapi, usual.driver_connection)


@dataclass(frozen=True)
class _Outcome:
    """What is known of a statement after the driver's cursor is closed."""

    description: Any = None
    rowcount: int = -1
    lastrowid: int | None = None
    rows: Sequence[Any] = ()

    def close(self) -> None:
        """Do nothing: the driver's cursor is closed already."""


class _SingleCallCursor(AsyncAdapt_aiosqlite_cursor):
    """A cursor of SQLAlchemy that has an outcome in place of a cursor of the driver."""

    __slots__ = ()

    _awaitable_cursor_close = False

    def _make_new_cursor(self, _connection: AsyncIODBAPIConnection) -> AsyncIODBAPICursor:
        return cast("AsyncIODBAPICursor", _Outcome())

    def _aenter_cursor(self, cursor: AsyncIODBAPICursor) -> AsyncIODBAPICursor:
        return cursor

    async def _execute_async(self, operation: str, parameters: _Parameters | None) -> None:
        await self._call(lambda cursor: cursor.execute(operation, parameters or ()))

    async def _executemany_async(self, operation: str, seq_of_parameters: Sequence[_Parameters]) -> None:
        await self._call(lambda cursor: cursor.executemany(operation, seq_of_parameters))

    async def _call(self, statement: Callable[[sqlite3.Cursor], object]) -> None:
        async with self._adapt_connection._execute_mutex:
            # The driver has no public call that returns rows together with their description.
            outcome = await self._connection._execute(_run, self._connection._conn, statement)
        self._cursor = outcome
        self._rows = deque(outcome.rows)


class _SingleCallConnection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()

    _cursor_cls = _SingleCallCursor


def _run(connection: sqlite3.Connection, statement: Callable[[sqlite3.Cursor], object]) -> _Outcome:
    """Run a statement in the driver's thread."""
    cursor = connection.cursor()
    try:
        statement(cursor)
        rows = cursor.fetchall() if cursor.description else ()
        return _Outcome(cursor.description, cursor.rowcount, cursor.lastrowid, rows)
    finally:
        cursor.close()
