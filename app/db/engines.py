"""Engines: how the service connects to SQLite and PostgreSQL, and how long it waits for them."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy import Connection, ExceptionContext, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.common.json_text import write_json
from app.settings import Settings

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # an acknowledged commit survives a loss of power
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -32000",  # kB at most: the index of facts by person has no order that 2 MB could follow
)
_SESSION = {"application_name": "abacus", "timezone": "UTC"}
_SERVER_CLOCKS: Final = ("statement_timeout", "idle_in_transaction_session_timeout")
_MILLISECONDS: Final = 1000
PROBE_SECONDS: Final = 1.0
# How long after the server should have given a statement up the client does: then the server is out of reach.
_GRACE_SECONDS: Final = 1.0


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


def create_probe_engine(settings: Settings) -> AsyncEngine:
    """Create what probes ask with: one connection of its own, so that a full pool does not look like an outage."""
    return create_engine(settings, Limits(pool=1, wait=PROBE_SECONDS, statement=PROBE_SECONDS))


def create_migration_engine(settings: Settings) -> AsyncEngine:
    """Create what migrations run on: their statements take as long as they take."""
    return create_engine(settings, Limits(pool=1, wait=settings.database_pool_timeout, statement=None))


@dataclass(frozen=True)
class Limits:
    """How many connections an engine has, and how many seconds are spent on waiting for one, and for a statement."""

    pool: int
    wait: float
    statement: float | None

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(settings.database_pool_size, settings.database_pool_timeout, settings.database_statement_timeout)


def create_engine(settings: Settings, limits: Limits) -> AsyncEngine:
    if settings.uses_sqlite:
        logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at DEBUG it writes down every bound value
        engine = create_async_engine(settings.url, **_options(limits), connect_args={"timeout": limits.wait})
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    engine = _create_postgresql_engine(settings, limits, {}, _options(limits))
    event.listen(engine.sync_engine, "begin", _begin_postgresql)
    return engine


def create_reading_engine(settings: Settings, limits: Limits) -> AsyncEngine:
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
        "json_serializer": write_json,
        "json_deserializer": _load_json,
    }


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
        synchronous = "FULL" if options.get("synchronous_commit", True) else "NORMAL"
        if connection.info.get("synchronous", "FULL") != synchronous:  # what it was when the connection was last used
            connection.exec_driver_sql(f"PRAGMA synchronous = {synchronous}")
            connection.info["synchronous"] = synchronous
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", False) else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if not connection.get_execution_options().get("synchronous_commit", True):
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
