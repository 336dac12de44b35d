"""Advisory locks of PostgreSQL, held until the transaction ends.

SQLite has one writer at a time, so there every lock is held already.
"""

from enum import IntEnum
from typing import Any, Final

from sqlalchemy import Connection, Integer, ScalarSelect, Select, bindparam, func, null, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.compiled_queries import fetch_within
from app.db.database import Database
from app.db.drivers import driver_of

_KEY: Final = (bindparam("lock", type_=Integer), bindparam("project_id", type_=Integer))
_EXCLUSIVE: Final[Select[Any]] = select(func.pg_advisory_xact_lock(*_KEY))
_SHARED: Final[Select[Any]] = select(func.pg_advisory_xact_lock_shared(*_KEY))
_NOTHING: Final = select(null())


class SchemaLock(IntEnum):
    """What a lock of a schema protects. Its number is the only key."""

    DATABASE = 7_236_180_011
    CLICKHOUSE = 7_236_180_012


class ProjectLock(IntEnum):
    """What a lock of a project protects. The number is the lock's first key, the project its second."""

    EVENT_APPEND = 1  # shared by every transaction that adds events
    IDENTITIES = 2  # which distinct id belongs to which person
    COHORT_REFERENCES = 3  # which cohort refers to which
    ACTOR_KEYS = 4  # the numbers of actors that are not persons
    ERASURE = 5  # shared by every transaction that looks up persons to store events of them
    IMPORTED_PERSONS = 6  # which distinct id stands for a person of another system
    FILE_IMPORTS = 7  # whether an import of the project is under way
    UPKEEP = 9  # what experiments do by themselves
    WEBHOOKS = 12  # how many webhooks there are
    ACTOR_VALUES = 13  # shared by every transaction that stores facts with numbers of values of a property


async def lock_project(session: AsyncSession, lock: ProjectLock, project_id: int, *, shared: bool = False) -> None:
    """Wait for a lock of a project; with ``shared``, only for transactions that hold it exclusively."""
    if session.get_bind().dialect.name != "postgresql":
        return
    query, parameters = _SHARED if shared else _EXCLUSIVE, {"lock": lock, "project_id": project_id}
    if (await driver_of(session)).is_in_transaction():
        await fetch_within(session, query, parameters)  # a batch of events takes three locks
    else:  # the driver alone would not begin a transaction, and have the lock for the statement only
        await (await session.connection()).execute(query, parameters)


async def wait_for_holders(database: Database, lock: ProjectLock, project_id: int) -> None:
    """Return when every transaction that holds a lock of a project at the time of the call has ended."""
    if not database.is_sqlite:
        await database.fetch(_EXCLUSIVE, {"lock": lock, "project_id": project_id})


def waiting_for_holders(dialect_name: str) -> ScalarSelect[Any]:
    """Return a column that a query has when ``wait_for_holders`` would return, with the parameters of that.

    The rest of the query sees what was committed before it waited.
    """
    return (_EXCLUSIVE if dialect_name == "postgresql" else _NOTHING).scalar_subquery()


def lock_schema(connection: Connection, lock: SchemaLock) -> None:
    """Wait until no other process migrates a schema."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock})
