"""Alembic environment: runs migrations with the settings and the engine of the service."""

import asyncio
import logging
from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, text
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from app.db.advisory_locks import SchemaLock, lock_schema
from app.db.engines import create_migration_engine
from app.db.migrations import Revisions, SchemaTooNew, missing_tables, stored_revisions
from app.db.models import Base
from app.db.models.base import DIALECT, UtcDateTime
from app.settings import Settings

# A migration that waits for a long transaction blocks every later request: it gives up instead, and is run again.
LOCK_SECONDS = 10

logger = logging.getLogger("abacus")


def render_item(kind: str, item: object, _autogenerate: AutogenContext) -> str | Literal[False]:
    """Render types of the application as types of SQLAlchemy: migrations must not depend on the current code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def compare_type(
    _context: object, _inspected_column: object, _metadata_column: object, inspected: TypeEngine[object], model: object
) -> bool | None:
    """Leave comparisons to Alembic, except of datetimes: DATETIME on SQLite, TIMESTAMP on PostgreSQL."""
    if isinstance(model, UtcDateTime):
        return type(inspected).__name__ not in {"DATETIME", "TIMESTAMP"}
    return None


def migrate(connection: Connection) -> None:
    is_sqlite = connection.dialect.name == "sqlite"

    def is_of_this_database(item: SchemaItem, *_: object) -> bool:
        return bool(item.info.get(DIALECT, connection.dialect.name) == connection.dialect.name)

    if is_sqlite:
        # Rebuilding a table drops the old one; with keys enforced that would delete the rows that point to it.
        # The pragma does nothing inside a transaction, hence the bare cursor.
        connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=is_sqlite,
        render_item=render_item,
        compare_type=compare_type,
        include_object=is_of_this_database,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        if not is_sqlite:
            # Replicas that start together migrate one after another: the first does the work, the others find it done.
            lock_schema(connection, SchemaLock.DATABASE)
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        if context.config.attributes.get("leaves_newer_schemas") and is_newer(connection):
            if missing := missing_tables(connection):
                raise SchemaTooNew(missing)
            logger.warning("schema was migrated by a newer version and is compatible; leaving it as it is")
            return
        context.run_migrations()


def is_newer(connection: Connection) -> bool:
    return Revisions.of(settings()).are_exceeded_by(stored_revisions(connection))


def settings() -> Settings:
    given: Settings | None = context.config.attributes.get("settings")
    return given or Settings.from_environment()


async def run() -> None:
    engine = create_migration_engine(settings())
    try:
        async with engine.execution_options(writes=True).connect() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


asyncio.run(run())
