"""Connections and transactions: sessions that read and sessions that write."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVarTuple

import asyncpg
import msgspec
from sqlalchemy import Connection, Select, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from app.prepared import fetch
from app.settings import Settings

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # an acknowledged commit survives a loss of power
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 10000",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -32000",  # kB at most: the index of facts by person has no order that 2 MB could follow
)
# SQLSTATE classes and codes that say "not now": connection, resources, shutdown, read-only, timeouts, locks.
_PASSING_STATES = ("08", "53", "57P", "57014", "25006", "55P03", "40001", "40P01")
_SESSION = {"application_name": "abacus", "timezone": "UTC"}

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


class _PostgresConnection(Protocol):
    driver_connection: _AsyncpgConnection


class Database:
    """Two pools of connections, and the four ways in which the service uses them.

    Most requests only read, one or two rows by key. Their connections are in autocommit mode and are handed out without
    a question to the server, which makes them several times cheaper than transactions.

    PostgreSQL lets any number of transactions write. SQLite has one writer: there, ``write`` waits for its turn inside
    the process (a fair queue instead of SQLite's sleeping retries) and starts with ``BEGIN IMMEDIATE``, so that a
    transaction that reads before it writes cannot lose an update.
    """

    def __init__(self, settings: Settings) -> None:
        self.engine = _create_engine(settings)
        self.reading_engine = _create_reading_engine(settings)
        self.is_sqlite = settings.uses_sqlite
        self._is_pooled_outside = settings.database_pgbouncer and not settings.uses_sqlite
        self._turn: contextlib.AbstractAsyncContextManager[object] = (
            asyncio.Lock() if self.is_sqlite else contextlib.nullcontext()
        )
        self._readers = async_sessionmaker(self.reading_engine, expire_on_commit=False)
        snapshots = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
        self._snapshots = async_sessionmaker(snapshots, expire_on_commit=False)
        self._writers = async_sessionmaker(self.engine.execution_options(writes=True), expire_on_commit=False)
        self._derivers = async_sessionmaker(
            self.engine.execution_options(writes=True, waits_for_disk=False), expire_on_commit=False
        )
        self._listeners: list[CommitListener] = []
        # Counting takes long. However many ask, two connections are left for those who write.
        self._snapshot_turns = asyncio.Semaphore(max(1, settings.database_pool_size - 2))

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
        return await fetch(self.reading_engine, query, parameters, in_transaction=self._is_pooled_outside)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """Yield a reading session all of whose queries see the same moment."""
        async with self._snapshot_turns, self._snapshots.begin() as session:
            yield session

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Yield a session whose transaction is committed on return and rolled back when the block raises.

        Not to be nested: on SQLite the second one would wait for the first.
        """
        async with self._turn, self._writers.begin() as session:
            yield session
        for listener in self._listeners:
            listener(session.info)

    @contextlib.asynccontextmanager
    async def write_derived(self) -> AsyncIterator[AsyncSession]:
        """As ``write``, for what can be made again from what others have committed: it does not wait for the disk.

        A loss of power may undo the last of these transactions, each as a whole and in their order.
        """
        async with self._turn, self._derivers.begin() as session:
            yield session

    async def ping(self) -> None:
        """Ask the database for an answer; raises what the driver raises when there is none."""
        async with self.read() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self.engine.dispose()
        await self.reading_engine.dispose()


def is_passing_database_trouble(error: Exception) -> bool:
    """Whether the database is away or busy, so that the same request may succeed later."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or _is_passing_driver_trouble(error.orig)
    return isinstance(error, PoolTimeout | OSError) or _is_passing_driver_trouble(error)


def _is_passing_driver_trouble(error: BaseException | None) -> bool:
    """The same of a driver's own errors: bulk statements are its own, and nobody wraps what they raise."""
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_PASSING_STATES)
    text_of_error = str(error)
    return (
        isinstance(error, asyncpg.InterfaceError)
        or "database is locked" in text_of_error
        or "connection is closed" in text_of_error
    )


def _create_engine(settings: Settings) -> AsyncEngine:
    if settings.uses_sqlite:
        logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at DEBUG it writes down every bound value
        engine = create_async_engine(settings.url, **_options(settings))
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    engine = create_async_engine(settings.url, connect_args=_connect_arguments(settings, {}), **_options(settings))
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    event.listen(engine.sync_engine, "begin", _begin_postgresql)
    return engine


def _connect_arguments(settings: Settings, session: Mapping[str, str]) -> dict[str, Any]:
    """Return how asyncpg connects.

    PgBouncer gives every transaction another connection to the server: a statement that was prepared earlier may not be
    there, and of settings it knows only its own few.
    """
    if settings.database_pgbouncer:
        caches = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        return {"server_settings": _SESSION, **caches, "prepared_statement_name_func": _no_name}
    return {"server_settings": {**_SESSION, "jit": "off", **session}}


def _no_name() -> str:
    """Return the name of a statement that the next one takes the place of, so that nothing is left on a server."""
    return ""


def _create_reading_engine(settings: Settings) -> AsyncEngine:
    options = {  # there is never a transaction to end
        **_options(settings),
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "pool_reset_on_return": None,
    }
    if settings.database_pgbouncer and not settings.uses_sqlite:  # a statement and its preparation need one server
        options = {**_options(settings), "execution_options": {"postgresql_readonly": True}}
    if settings.uses_sqlite:
        engine = create_async_engine(settings.url, **options)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite_for_reading)
        return engine
    engine = create_async_engine(
        settings.url,
        connect_args=_connect_arguments(settings, {"default_transaction_read_only": "on"}),
        **options,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _options(settings: Settings) -> dict[str, Any]:
    """Return what all engines share."""
    return {
        "pool_size": settings.database_pool_size,
        "max_overflow": 0,
        "pool_timeout": 5,
        "pool_recycle": 1800,
        "hide_parameters": True,  # bound values are people's data: they stay out of logs
        "json_serializer": _dump_json,
        "json_deserializer": _load_json,
    }


def _dump_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _load_json(text: str) -> object:
    """Read a stored document, at a third of the standard library's price where nothing in it is unusual."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:  # a number beyond all bounds, half of a surrogate pair
        return json.loads(text)


def _refuse_closed(connection: _PostgresConnection, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection that the server has closed: a look at the socket, not a question to it."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


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
    options = connection.get_execution_options()
    if options.get("writes", False):
        synchronous = "FULL" if options.get("waits_for_disk", True) else "NORMAL"
        if connection.info.get("synchronous", "FULL") != synchronous:  # what it was when the connection was last used
            connection.exec_driver_sql(f"PRAGMA synchronous = {synchronous}")
            connection.info["synchronous"] = synchronous
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", False) else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if not connection.get_execution_options().get("waits_for_disk", True):
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
