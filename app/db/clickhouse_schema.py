"""The tables in ClickHouse: numbered statements that only add, and the record in PostgreSQL of those that were run."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from sqlalchemy import Connection, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import clickhouse_flags
from app.db.advisory_locks import SchemaLock, lock_schema
from app.db.clickhouse import ClickHouse
from app.db.database import Database
from app.db.models import ClickHouseMigration, EventArchive, Series

Step: TypeAlias = Callable[[ClickHouse], Sequence[str]]

# Inserts whose tokens are remembered; the default of tables that are not replicated is none.
_WINDOW: Final = 10_000
_WEEK: Final = 7 * 24 * 3600


def _create_database(clickhouse: ClickHouse) -> Sequence[str]:
    return [f"CREATE DATABASE IF NOT EXISTS `{clickhouse.database}`{clickhouse.on_cluster}"]


def _create_facts(clickhouse: ClickHouse) -> Sequence[str]:
    # Parts arrive in the order of events, so that the index by sequence leaves out most of them for what is new.
    columns = (
        "project UInt32, series UInt32, person Int64 CODEC(Delta, ZSTD(1)), time Int64 CODEC(T64, LZ4),"
        " sequence Int64 CODEC(T64, LZ4), variant UInt32 CODEC(T64, ZSTD(1)), value Float64 CODEC(ZSTD(1)),"
        " INDEX by_sequence sequence TYPE minmax GRANULARITY 1"
    )
    return _create_table(clickhouse, "fact", columns, "ORDER BY (series, person, time, sequence)", "person")


def _create_events(clickhouse: ClickHouse) -> Sequence[str]:
    # In the order in which they are read, and in which parts arrive. No partitions by time: the clocks of senders can
    # be years wrong, and each such month would be one.
    columns = (
        "project UInt32, sequence Int64 CODEC(Delta, ZSTD(1)), uuid UUID, name LowCardinality(String),"
        " distinct_id String CODEC(ZSTD(3)), person Int64 CODEC(T64, ZSTD(1)), time Int64 CODEC(Delta, ZSTD(1)),"
        " received Int64 CODEC(Delta, ZSTD(1)), properties String CODEC(ZSTD(3)),"
        " INDEX by_time time TYPE minmax GRANULARITY 1"
    )
    return _create_table(clickhouse, "event", columns, "ORDER BY (project, sequence)", "distinct_id")


def _add_flag_properties(clickhouse: ClickHouse) -> Sequence[str]:
    # Events that were inserted before are read by the expression, until a merge writes the column.
    # Not a dictionary: that takes twice as much where events have twenty flags.
    column = f"{clickhouse_flags.COLUMN} String MATERIALIZED {clickhouse_flags.expression()} CODEC(ZSTD(1))"
    stored = clickhouse.stored_table("event")
    tables = [stored, f"{clickhouse.table('event')}{clickhouse.on_cluster}"] if clickhouse.cluster else [stored]
    return [f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column}" for table in tables]


def _create_table(clickhouse: ClickHouse, name: str, columns: str, order: str, shard_key: str) -> Sequence[str]:
    """Return the statements that create a table: on one server, or on all of a cluster."""
    if not clickhouse.cluster:
        engine = f"ReplacingMergeTree {order} SETTINGS non_replicated_deduplication_window = {_WINDOW}"
        return [f"CREATE TABLE IF NOT EXISTS {clickhouse.table(name)} ({columns}) ENGINE = {engine}"]
    path = f"/clickhouse/tables/{{shard}}/{clickhouse.database}/{name}_local"
    settings = f"replicated_deduplication_window = {_WINDOW}, replicated_deduplication_window_seconds = {_WEEK}"
    engine = f"ReplicatedReplacingMergeTree('{path}', '{{replica}}') {order} SETTINGS {settings}"
    return [
        f"CREATE TABLE IF NOT EXISTS {clickhouse.stored_table(name)} ({columns}) ENGINE = {engine}",
        f"CREATE TABLE IF NOT EXISTS {clickhouse.table(name)}{clickhouse.on_cluster}"
        f" AS `{clickhouse.database}`.{name}_local ENGINE ="
        f" Distributed(`{clickhouse.cluster}`, `{clickhouse.database}`, {name}_local, cityHash64({shard_key}))",
    ]


STEPS: Final[Sequence[Step]] = (_create_database, _create_facts, _create_events, _add_flag_properties)


async def migrate(database: Database) -> int:
    """Run the steps that are missing, and return how many there were. A step that was interrupted can be run again."""
    clickhouse = database.clickhouse
    if clickhouse is None:
        return 0
    async with database.write() as session:
        # PostgreSQL has real locks: of replicas that start together one migrates, and the others wait.
        await (await session.connection()).run_sync(lock_schema, SchemaLock.CLICKHOUSE)
        missing = range(await _count_done(session), len(STEPS))
        for number in missing:
            for statement in STEPS[number](clickhouse):
                await clickhouse.execute(statement)
            await session.execute(insert(ClickHouseMigration), {"number": number + 1})
    return len(missing)


async def is_migrated(database: Database) -> bool:
    """Whether all steps were run."""
    async with database.read() as session:
        return await _count_done(session) >= len(STEPS)


def holds_data(connection: Connection) -> bool:
    """Whether events or facts are in ClickHouse, or on their way there: who does not know it would miss some."""
    archives = select(EventArchive.project_id).where(EventArchive.sending_until > 0).exists()
    facts = select(Series.id).where(Series.is_in_clickhouse).exists()
    return bool(connection.scalar(select(or_(archives, facts))))


async def _count_done(session: AsyncSession) -> int:
    return len((await session.scalars(select(ClickHouseMigration.number))).all())
