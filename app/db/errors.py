"""Errors of the database, and which of them are transient."""

import sqlite3
from typing import Final

import asyncpg
from sqlalchemy.exc import DataError, DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# All errors that database access may raise: bulk statements run on the driver, whose errors are not wrapped.
DATABASE_ERRORS: Final[tuple[type[Exception], ...]] = (
    SQLAlchemyError,
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    sqlite3.Error,
)
# SQLSTATE classes and codes of transient errors: connection, access, resources, system, shutdown, read-only, timeouts,
# locks; and missing tables or columns, as long as the schema has not been migrated.
_TRANSIENT_SQLSTATES: Final = (
    *("08", "28", "3D", "53", "57P", "58"),
    *("25006", "25P03", "40001", "40P01", "42P01", "42703", "55P03", "57014"),
)
_DATA_SQLSTATES: Final = "22"
# The transient errors of SQLite: locked, disk full, a file that cannot be opened, read or written.
_TRANSIENT_SQLITE_CODES: Final = frozenset(
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


def is_transient_database_error(error: BaseException | None) -> bool:
    """Whether the database is unavailable, busy or not migrated yet, so that the same request may succeed later."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or is_transient_database_error(error.orig)
    if isinstance(error, PoolTimeout | OSError | asyncpg.InterfaceError):
        return True
    if isinstance(error, InvalidRequestError):  # the connection was lost during checkout or use
        return "connection is closed" in str(error) or "invalid transaction" in str(error)
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in _TRANSIENT_SQLITE_CODES or (
            str(error).startswith("no such table")
        )
    state = getattr(error, "sqlstate", None)
    return str(state).startswith(_TRANSIENT_SQLSTATES) if state else "connection is closed" in str(error)


def is_data_error(error: BaseException | None) -> bool:
    """Whether the database refuses a value, as it will each time."""
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError) or is_data_error(error.orig)
    # SQLAlchemy translates only some of the driver's classes.
    return isinstance(error, asyncpg.DataError | sqlite3.DataError) or str(getattr(error, "sqlstate", "")).startswith(
        _DATA_SQLSTATES
    )


def describe(error: BaseException) -> str:
    """Return the database's reason in one line, for the log."""
    cause = getattr(error, "orig", None) or error
    reason = str(cause).partition("\n")[0]
    return f"{type(cause).__name__}: {reason}"


def is_statement_timeout(error: BaseException | None) -> bool:
    """Whether the database ended a statement that took too long."""
    if isinstance(error, DBAPIError):
        return is_statement_timeout(error.orig)
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
        return True
    return getattr(error, "sqlstate", None) == asyncpg.QueryCanceledError.sqlstate
