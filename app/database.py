"""Connections and transactions: sessions that read and sessions that write."""

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, TypeVarTuple

import asyncpg
from sqlalchemy import Connection, ExceptionContext, Select, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from app.prepared import fetch
from app.settings import Settings

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # an acknowledged commit survives a loss of power
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
)
# What may come out of anything that asks a database: bulk statements go to the driver, and nobody wraps its errors.
DATABASE_ERRORS: Final[tuple[type[Exception], ...]] = (
    SQLAlchemyError,
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    sqlite3.Error,
)
# SQLSTATE classes and codes that say "not now": connection, access, resources, the system, shutdown, read-only,
# timeouts, locks; and tables or columns that are not there before the schema has been migrated.
_PASSING_STATES: Final = (
    *("08", "28", "3D", "53", "57P", "58"),
    *("25006", "25P03", "40001", "40P01", "42P01", "42703", "55P03", "57014"),
)
# The same of SQLite: locked, no space, a file that cannot be opened, read or written.
_PASSING_SQLITE_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_INTERRUPT,
    }
)
_SESSION = {"application_name": "abacus", "timezone": "UTC", "jit": "off"}
_MILLISECONDS: Final = 1000
PROBE_SECONDS: Final = 1.0
# How long after the server should have given a statement up the client does: then the server is out of reach.
_GRACE_SECONDS: Final = 1.0

Columns = TypeVarTuple("Columns")


CommitListener: TypeAlias = Callable[[Mapping[Any, Any]], None]  # gets what repositories noted in ``session.info``


class _DriverCursor(Protocol):
    def execute(self, statement: str) -> object: ...
    def close(self) -> None: ...


class _DriverConnection(Protocol):
    isolation_level: str | None

    def cursor(self) -> _DriverCursor: ...
    def create_function(self, name: str, arguments: int, function: Callable[..., Any]) -> None: ...


class _AsyncpgConnection(Protocol):
    def is_closed(self) -> bool: ...
    def terminate(self) -> None: ...


class _PostgresConnection(Protocol):
    driver_connection: _AsyncpgConnection


class Database:
    """Two pools of connections, and the three ways in which the service uses them.

    Most requests only read, one or two rows by key. Their connections are in autocommit mode and are handed out without
    a question to the server, which makes them several times cheaper than transactions.

    PostgreSQL lets any number of transactions write. SQLite has one writer: there, ``write`` waits for its turn inside
    the process (a fair queue instead of SQLite's sleeping retries) and starts with ``BEGIN IMMEDIATE``, so that a
    transaction that reads before it writes cannot lose an update.
    """

    def __init__(self, settings: Settings) -> None:
        limits = Limits.of(settings)
        self.engine = _create_engine(settings, limits)
        self.reading_engine = _create_reading_engine(settings, limits)
        self.is_sqlite = settings.uses_sqlite
        self._turn = asyncio.Lock()
        self._longest_turn = settings.database_timeout
        self._readers = async_sessionmaker(self.reading_engine, expire_on_commit=False)
        snapshots = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
        self._snapshots = async_sessionmaker(snapshots, expire_on_commit=False)
        self._writers = async_sessionmaker(self.engine.execution_options(writes=True), expire_on_commit=False)
        self._listeners: list[CommitListener] = []

    def on_commit(self, listener: CommitListener) -> None:
        """Have a listener told of every commit of this process, with the ``info`` of the session that made it."""
        self._listeners.append(listener)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Yield a session that cannot write, and each of whose queries sees what is committed by then."""
        async with self._readers() as session:
            yield session

    async def fetch(self, query: Select[*Columns], parameters: Mapping[str, object]) -> Sequence[tuple[*Columns]]:
        """Return the rows of one query, which gets a connection for just as long as it runs.

        For the queries that nearly every request makes: see ``app.prepared``.
        """
        return await fetch(self.reading_engine, query, parameters)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """Yield a reading session all of whose queries see the same moment."""
        async with self._snapshots.begin() as session:
            yield session

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Yield a session whose transaction is committed on return and rolled back when the block raises.

        Not to be nested: on SQLite the second one would wait for the first.
        """
        async with self._writing_turn(), self._writers.begin() as session:
            yield session
        for listener in self._listeners:
            listener(session.info)

    @contextlib.asynccontextmanager
    async def _writing_turn(self) -> AsyncIterator[None]:
        if not self.is_sqlite:
            yield
            return
        async with asyncio.timeout(self._longest_turn):
            await self._turn.acquire()
        try:
            yield
        finally:
            self._turn.release()

    async def close(self) -> None:
        await self.engine.dispose()
        await self.reading_engine.dispose()


def is_passing_database_trouble(error: BaseException | None) -> bool:
    """Whether the database is away, busy or not ready yet, so that the same request may succeed later."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or is_passing_database_trouble(error.orig)
    if isinstance(error, PoolTimeout | OSError | asyncpg.InterfaceError):
        return True
    if isinstance(error, InvalidRequestError):  # of a connection that was lost while it was handed out or in use
        return "connection is closed" in str(error) or "invalid transaction" in str(error)
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in _PASSING_SQLITE_CODES or (
            str(error).startswith("no such table")
        )
    state = getattr(error, "sqlstate", None)
    return str(state).startswith(_PASSING_STATES) if state else "connection is closed" in str(error)


def create_probe_engine(settings: Settings) -> AsyncEngine:
    """Create what probes ask with: one connection of its own, so that a full pool does not look like an outage."""
    return _create_engine(settings, Limits(pool=1, wait=PROBE_SECONDS, statement=PROBE_SECONDS))


def create_migration_engine(settings: Settings) -> AsyncEngine:
    """Create what migrations run on: their statements take as long as they take."""
    return _create_engine(settings, Limits(pool=1, wait=settings.database_wait, statement=None))


@dataclass(frozen=True)
class Limits:
    """How many connections an engine has, and how many seconds are spent on waiting for one, and for a statement."""

    pool: int
    wait: float
    statement: float | None

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(settings.database_pool_size, settings.database_wait, settings.database_timeout)


def _create_engine(settings: Settings, limits: Limits) -> AsyncEngine:
    if settings.uses_sqlite:
        logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at DEBUG it writes down every bound value
        engine = create_async_engine(settings.url, **_options(limits), connect_args={"timeout": limits.wait})
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    return _create_postgresql_engine(settings, limits, {}, _options(limits))


def _create_reading_engine(settings: Settings, limits: Limits) -> AsyncEngine:
    options = {  # there is never a transaction to end
        **_options(limits),
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "pool_reset_on_return": None,
    }
    if settings.uses_sqlite:
        engine = create_async_engine(settings.url, **options, connect_args={"timeout": limits.wait})
        event.listen(engine.sync_engine, "connect", _prepare_sqlite_for_reading)
        return engine
    return _create_postgresql_engine(settings, limits, {"default_transaction_read_only": "on"}, options)


def _create_postgresql_engine(
    settings: Settings, limits: Limits, session: Mapping[str, str], options: Mapping[str, Any]
) -> AsyncEngine:
    """Create an engine whose statements end: first by the server's own clock, then by ours.

    The server's clock tells it to stop working; ours is for servers that do not answer at all. A transaction that is
    left alone, because its process is stuck, ends too: it may hold locks that others wait for.
    """
    arguments: dict[str, Any] = {"timeout": limits.wait, "server_settings": {**_SESSION, **session}}
    if limits.statement is not None:
        milliseconds = str(round(limits.statement * _MILLISECONDS))
        arguments["command_timeout"] = limits.statement + _GRACE_SECONDS
        arguments["server_settings"] |= {
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
        }
    engine = create_async_engine(settings.url, connect_args=arguments, **options)
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    event.listen(engine.sync_engine, "handle_error", _drop_unusable)
    return engine


def _options(limits: Limits) -> dict[str, Any]:
    """Return what all engines share."""
    return {
        "pool_size": limits.pool,
        "max_overflow": 0,
        "pool_timeout": limits.wait,
        "pool_recycle": 1800,
        "hide_parameters": True,  # bound values are people's data: they stay out of logs
        "json_serializer": _dump_json,
    }


def _dump_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _refuse_closed(connection: _PostgresConnection, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection that the server has closed: a look at the socket, not a question to it."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _drop_unusable(context: ExceptionContext) -> None:
    """Give up a connection that an error leaves in no state to be used again.

    One whose server did not answer: to undo the transaction would be to wait once more. And one on which no transaction
    could be begun: the driver believes that it is in one.
    """
    if context.connection is None or context.connection.invalidated or context.is_disconnect:
        return
    pooled: Any = context.connection.connection
    driver = pooled.driver_connection
    has_not_begun = not pooled.dbapi_connection.autocommit and not driver.is_in_transaction()
    if has_not_begun or isinstance(context.original_exception, TimeoutError):
        driver.terminate()
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def _prepare_sqlite(connection: _DriverConnection, _record: object) -> None:
    connection.create_function("lower", 1, _lower)  # its own knows nothing beyond ASCII
    connection.isolation_level = None  # the driver would begin by itself, too late and without IMMEDIATE
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _prepare_sqlite_for_reading(connection: _DriverConnection, record: object) -> None:
    _prepare_sqlite(connection, record)
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
