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
import msgspec
from sqlalchemy import Connection, ExceptionContext, Select, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import QueuePool

from app.prepared import fetch
from app.settings import Settings

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # an acknowledged commit survives a loss of power
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -32000",  # kB at most: the index of facts by person has no order that 2 MB could follow
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
_SESSION = {"application_name": "abacus", "timezone": "UTC"}
_SERVER_CLOCKS: Final = ("statement_timeout", "idle_in_transaction_session_timeout")
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
    """Two pools of connections, and the four ways in which the service uses them.

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
        self._is_pooled_outside = settings.database_pgbouncer and not settings.uses_sqlite
        self._turn = asyncio.Lock()
        self._longest_turn = settings.database_timeout
        self._readers = async_sessionmaker(self.reading_engine, expire_on_commit=False)
        snapshots = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
        self._snapshots = async_sessionmaker(snapshots, expire_on_commit=False)
        self._writers = async_sessionmaker(self.engine.execution_options(writes=True), expire_on_commit=False)
        self._derivers = async_sessionmaker(
            self.engine.execution_options(writes=True, waits_for_disk=False), expire_on_commit=False
        )
        self._listeners: list[CommitListener] = []
        # Whoever counts takes one and holds at most one connection of each pool. However many ask, two of each are left
        # to those who send events, ask for flags or change something.
        self.counting_turns = asyncio.Semaphore(max(1, settings.database_pool_size - 2))

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
    async def write_derived(self) -> AsyncIterator[AsyncSession]:
        """As ``write``, for what can be made again from what others have committed: it does not wait for the disk.

        A loss of power may undo the last of these transactions, each as a whole and in their order.
        """
        async with self._writing_turn(), self._derivers.begin() as session:
            yield session

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

    def pools(self) -> Mapping[str, tuple[int, int]]:
        """Return how many connections of each pool are in use, and how many may be."""
        engines = {"reading": self.reading_engine, "writing": self.engine}
        pools = {name: engine.sync_engine.pool for name, engine in engines.items()}
        return {name: (pool.checkedout(), pool.size()) for name, pool in pools.items() if isinstance(pool, QueuePool)}

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
    engine = _create_postgresql_engine(settings, limits, {}, _options(limits))
    event.listen(engine.sync_engine, "begin", _begin_postgresql)
    return engine


def _create_reading_engine(settings: Settings, limits: Limits) -> AsyncEngine:
    options = {  # there is never a transaction to end
        **_options(limits),
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "pool_reset_on_return": None,
    }
    if settings.database_pgbouncer and not settings.uses_sqlite:  # a statement and its preparation need one server
        options = {**_options(limits), "execution_options": {"postgresql_readonly": True}}
    if settings.uses_sqlite:
        engine = create_async_engine(settings.url, **options, connect_args={"timeout": limits.wait})
        event.listen(engine.sync_engine, "connect", _prepare_sqlite_for_reading)
        return engine
    return _create_postgresql_engine(settings, limits, {"default_transaction_read_only": "on"}, options)


def _create_postgresql_engine(
    settings: Settings, limits: Limits, session: Mapping[str, str], options: Mapping[str, Any]
) -> AsyncEngine:
    """Create an engine whose connections are tested, and given up when they are no good any more."""
    engine = create_async_engine(settings.url, connect_args=_connect_arguments(settings, limits, session), **options)
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    event.listen(engine.sync_engine, "handle_error", _drop_unusable)
    return engine


def _connect_arguments(settings: Settings, limits: Limits, session: Mapping[str, str]) -> dict[str, Any]:
    """Return how asyncpg connects.

    Statements end: first by the server's own clock, then by ours. The server's tells it to stop working; ours is for
    servers that do not answer at all. A transaction that is left alone, because its process is stuck, ends too: it may
    hold locks that others wait for.

    PgBouncer gives every transaction another connection to the server: a statement that was prepared earlier may not be
    there, and of settings it knows only its own few. So behind it there is only our clock, at which the driver has the
    statement cancelled; PgBouncer has settings of its own for transactions that are left alone.
    """
    arguments: dict[str, Any] = {"timeout": limits.wait, "server_settings": _SESSION}
    if limits.statement is not None:
        arguments["command_timeout"] = limits.statement + _GRACE_SECONDS
    if settings.database_pgbouncer:
        caches = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        return {**arguments, **caches, "prepared_statement_name_func": _no_name}
    clocks = {}
    if limits.statement is not None:
        clocks = dict.fromkeys(_SERVER_CLOCKS, str(round(limits.statement * _MILLISECONDS)))
    # A connection keeps the plans it has made, also those from when a table was too small for an index to pay: 800 of
    # 8,000 persons then took 240 ms, until the server's next look at the table. (Behind PgBouncer none are kept.)
    plans = {"jit": "off", "enable_seqscan": "off"}
    return {**arguments, "server_settings": {**_SESSION, **plans, **clocks, **session}}


def _no_name() -> str:
    """Return the name of a statement that the next one takes the place of, so that nothing is left on a server."""
    return ""


def _options(limits: Limits) -> dict[str, Any]:
    """Return what all engines share."""
    return {
        "pool_size": limits.pool,
        "max_overflow": 0,
        "pool_timeout": limits.wait,
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
