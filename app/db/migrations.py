"""Migrates the database schema to a revision."""

import asyncio
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from app.db import clickhouse_schema
from app.db.database import Database
from app.db.models import Base
from app.settings import Settings

_SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"


@dataclass(frozen=True)
class Revisions:
    """The schema revisions that this version of the service knows."""

    known: Set[str]
    heads: Set[str]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        scripts = ScriptDirectory.from_config(configuration(settings))
        return cls(frozenset(one.revision for one in scripts.walk_revisions()), frozenset(scripts.get_heads()))

    def are_met_by(self, stored: Set[str]) -> bool:
        """Whether this version can work with a schema: its own, or one that a newer version has migrated further.

        Migrations only add; they remove nothing that a running version needs, so that a new version can be rolled back
        without its schema. One that has to change what is stored renames its table: see ``SchemaTooNew``.
        """
        return self.heads <= stored or self.are_exceeded_by(stored)

    def are_exceeded_by(self, stored: Set[str]) -> bool:
        return not stored <= self.known


class SchemaTooNew(RuntimeError):
    """A newer version has renamed or removed tables of this one, which would read their successors wrongly."""

    def __init__(self, tables: Iterable[str]) -> None:
        super().__init__(
            f"a newer version has migrated the database, and this one cannot work with it (no table "
            f"{', '.join(sorted(tables))}): start the newer version"
        )


def stored_revisions(connection: Connection) -> Set[str]:
    """Return the revisions of the database; none before the first migration."""
    return frozenset(MigrationContext.configure(connection).get_current_heads())


def missing_tables(connection: Connection) -> Set[str]:
    """Return the tables of this version that the database lacks."""
    return Base.metadata.tables.keys() - set(inspect(connection).get_table_names())


def configuration(settings: Settings) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    config.attributes["settings"] = settings
    return config


def upgrade(settings: Settings, revision: str = "head") -> None:
    """Run the missing migrations. It starts an event loop: call it from a thread without one."""
    config = configuration(settings)
    config.attributes["leaves_newer_schemas"] = True
    command.upgrade(config, revision)
    if settings.clickhouse_url is not None and revision == "head":
        asyncio.run(_upgrade_clickhouse(settings))


async def _upgrade_clickhouse(settings: Settings) -> None:
    database = Database(settings)
    try:
        await clickhouse_schema.migrate(database)
    finally:
        await database.close()


def downgrade(settings: Settings, revision: str) -> None:
    """Revert migrations down to ``revision`` (``base`` removes every table)."""
    command.downgrade(configuration(settings), revision)


def check(settings: Settings) -> None:
    """Raise ``alembic.util.CommandError`` if the models and the migrated schema differ."""
    command.check(configuration(settings))
