"""Engines: connections to SQLite and PostgreSQL, with their timeouts."""

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
from app.db.sqlite_cursors import use_single_calls
from app.settings import Settings

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # an acknowledged commit survives a loss of power
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    # 32 MB at most: the index of facts by person is accessed at random, for which the default of 2 MB is too small.
    "PRAGMA cache_size = -32000",
)
_SQLITE_READING_PRAGMAS = (
    "PRAGMA query_only = ON",
    "PRAGMA cache_size = -4000",  # what is read here is read once, and each connection has a cache of its own
)
# The connection that was used last comes next: its cache is filled, and the others' stay small.
_SQLITE_POOL: Final[Mapping[str, bool]] = {"pool_use_lifo": True}
_SESSION = {"application_name": "abacus", "timezone": "UTC"}
_SERVER_TIMEOUTS: Final = ("statement_timeout", "idle_in_transaction_session_timeout")
_MILLISECONDS: Final = 1000
PROBE_SECONDS: Final = 1.0
# How long after the server's own statement timeout the client gives up: the server is unreachable then.
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
    """Create the engine of probes, with a connection of its own: an exhausted pool must not look like an outage."""
    return create_engine(settings, Limits(pool=1, wait=PROBE_SECONDS, statement=PROBE_SECONDS))


def create_migration_engine(settings: Settings) -> AsyncEngine:
    """Create the engine of migrations, whose statements have no timeout."""
    return create_engine(settings, Limits(pool=1, wait=settings.database_pool_timeout, statement=None))


@dataclass(frozen=True)
class Limits:
    """Number of connections of an engine, and seconds to wait for a connection and for a statement."""

    pool: int
    wait: float
    statement: float | None

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(settings.database_pool_size, settings.database_pool_timeout, settings.database_statement_timeout)


def create_engine(settings: Settings, limits: Limits) -> AsyncEngine:
    if settings.uses_sqlite:
        logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at DEBUG it logs every bound value
        options = {**_options(limits), **_SQLITE_POOL}
        engine = create_async_engine(settings.url, **options, connect_args={"timeout": limits.wait})
        use_single_calls(engine)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    engine = _create_postgresql_engine(settings, limits, {}, _options(limits))
    event.listen(engine.sync_engine, "begin", _begin_postgresql)
    return engine


def create_reading_engine(settings: Settings, limits: Limits) -> AsyncEngine:
    options = {  # in autocommit mode there is no transaction to end
        **_options(limits),
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "pool_reset_on_return": None,
    }
    if settings.database_pgbouncer and not settings.uses_sqlite:  # preparing and executing need one server
        options = {**_options(limits), "execution_options": {"postgresql_readonly": True}}
    if settings.uses_sqlite:
        options |= _SQLITE_POOL
        engine = create_async_engine(settings.url, **options, connect_args={"timeout": limits.wait})
        use_single_calls(engine)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite_for_reading)
        return engine
    return _create_postgresql_engine(settings, limits, {"default_transaction_read_only": "on"}, options)


def _create_postgresql_engine(
    settings: Settings, limits: Limits, session: Mapping[str, str], options: Mapping[str, Any]
) -> AsyncEngine:
    """Create an engine that replaces closed connections and drops broken ones."""
    engine = create_async_engine(settings.url, connect_args=_connect_arguments(settings, limits, session), **options)
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    event.listen(engine.sync_engine, "handle_error", _drop_unusable)
    return engine


def _connect_arguments(settings: Settings, limits: Limits, session: Mapping[str, str]) -> dict[str, Any]:
    """Return the connection arguments of asyncpg.

    Statements have two timeouts: the server's, which stops its work, and a later one of the client, for servers that do
    not respond. An idle transaction of a stuck process is ended too, because it may hold locks.

    PgBouncer gives every transaction another server connection: a statement that was prepared earlier may not exist
    there, and it supports few settings. So behind it only the client has a timeout, at which the driver cancels the
    statement; for idle transactions PgBouncer has settings of its own.
    """
    arguments: dict[str, Any] = {"timeout": limits.wait, "server_settings": _SESSION}
    if limits.statement is not None:
        arguments["command_timeout"] = limits.statement + _GRACE_SECONDS
    if settings.database_pgbouncer:
        caches = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        return {**arguments, **caches, "prepared_statement_name_func": _unnamed}
    timeouts = {}
    if limits.statement is not None:
        timeouts = dict.fromkeys(_SERVER_TIMEOUTS, str(round(limits.statement * _MILLISECONDS)))
    # A connection caches plans, even those made when a table was too small for an index to pay off: then 800 of 8,000
    # persons took 240 ms until the next ANALYZE of the table. (Behind PgBouncer none are cached.)
    plans = {"jit": "off", "enable_seqscan": "off"}
    return {**arguments, "server_settings": {**_SESSION, **plans, **timeouts, **session}}


def _unnamed() -> str:
    """Return the name of the unnamed statement, which the next one replaces, so that none stays on the server."""
    return ""


def _options(limits: Limits) -> dict[str, Any]:
    """Return the options that all engines have in common."""
    return {
        "pool_size": limits.pool,
        "max_overflow": 0,
        "pool_timeout": limits.wait,
        "pool_recycle": 1800,
        "hide_parameters": True,  # bound values are personal data and must not be logged
        "json_serializer": _write_json,
        "json_deserializer": _load_json,
    }


def _write_json(document: object) -> str:
    """Write a document as JSON; a ``Raw`` is JSON already."""
    return str(document, "utf-8") if isinstance(document, msgspec.Raw) else write_json(document)


def _load_json(text: str) -> object:
    """Parse a stored document, in a third of the time of the standard library if nothing in it is unusual."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:  # a number out of range, a lone surrogate
        return json.loads(text)


def _refuse_closed(connection: _PostgresConnection, _record: object, _proxy: object) -> None:
    """Make the pool replace a connection that the server has closed. It checks the socket, without a round trip."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _drop_unusable(context: ExceptionContext) -> None:
    """Terminate a connection that is unusable after an error.

    Either its server did not respond, and a rollback would wait once more; or no transaction could be begun on it,
    although the driver believes that there is one.
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
    connection.create_function("lower", 1, _lower)  # the built-in one handles only ASCII
    connection.isolation_level = None  # the driver would begin transactions itself, too late and without IMMEDIATE
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _prepare_sqlite_for_reading(connection: _DriverConnection, record: object) -> None:
    _prepare_sqlite(connection, record)
    cursor = connection.cursor()
    for pragma in _SQLITE_READING_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("writes", False):
        synchronous = "FULL" if options.get("synchronous_commit", True) else "NORMAL"
        if connection.info.get("synchronous", "FULL") != synchronous:  # as set when the connection was last used
            connection.exec_driver_sql(f"PRAGMA synchronous = {synchronous}")
            connection.info["synchronous"] = synchronous
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", False) else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if not connection.get_execution_options().get("synchronous_commit", True):
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
