"""Facts about the database server: reachability, revision, version, clock and settings."""

import datetime as dt
from collections.abc import Mapping, Set
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import clickhouse_schema
from app.db.migrations import missing_tables


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server and its clock."""

    version: int  # 180003 is 18.3
    now: dt.datetime
    settings: Mapping[str, str]


class ServerRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def ping(self) -> None:
        await self._session.execute(text("SELECT 1"))

    async def revision(self) -> str | None:
        """Return the revision of the schema; None where there is no schema yet."""
        try:
            revision: str | None = await self._session.scalar(text("SELECT version_num FROM alembic_version"))
        except DBAPIError:
            return None
        return revision

    async def missing_tables(self) -> Set[str]:
        """Return the tables of this version that the database lacks."""
        return await (await self._session.connection()).run_sync(missing_tables)

    async def has_data_in_clickhouse(self) -> bool:
        """Whether events or facts are in ClickHouse, or on their way there."""
        return await (await self._session.connection()).run_sync(clickhouse_schema.holds_data)

    async def size(self) -> int:
        """Return the bytes of the database; on PostgreSQL only."""
        return int(await self._session.scalar(text("SELECT pg_database_size(current_database())")) or 0)

    async def server(self) -> Server:
        """Return version, clock and settings of the server; on PostgreSQL only."""
        row = (
            await self._session.execute(
                text("SELECT current_setting('server_version_num')::int AS version, clock_timestamp() AS now")
            )
        ).one()
        names = ("max_connections", "fsync", "full_page_writes", "synchronous_commit")
        found = await self._session.execute(
            text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)"), {"names": list(names)}
        )
        return Server(row.version, row.now, {setting.name: setting.setting for setting in found})
