"""How many bytes an event and a fact take in each database, indexes included.

python -m benchmarks.sizes [--events 200000]
"""

import argparse
import asyncio

from sqlalchemy import text

from app.db.database import Database
from app.metrics.facts.materializer import Materializer
from app.metrics.facts.series import EventSource, SeriesDefinition
from app.properties.filters import parse_filter
from benchmarks.workload import FLAG, STEPS, create_project, databases, generate, load


async def size(database: Database, table: str) -> int:
    """Return the bytes of a table with its indexes; on SQLite of the whole file, which tells growth as well."""
    async with database.read() as session:
        if database.is_sqlite:
            statement = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        else:
            statement = f"SELECT pg_total_relation_size('{table}')"
        return int((await session.execute(text(statement))).scalar_one())


async def count(database: Database, table: str) -> int:
    async with database.read() as session:
        return int((await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def measure(name: str, database: Database, events: int) -> None:
    project_id = await create_project(database)
    empty = await size(database, "event")
    await load(database, project_id, generate(events))
    stored = await size(database, "event") - empty
    async with database.read() as session:
        properties = float((await session.execute(text("SELECT avg(length(properties)) FROM event"))).scalar_one())
    print(f"{name:10} event {stored / events:6.0f} bytes, {properties:.0f} of them properties")

    empty = await size(database, "series_fact")
    everything = tuple(EventSource(step, parse_filter(None)) for step in ("$pageview", *STEPS))
    await Materializer(database).catch_up(project_id, [SeriesDefinition(everything, f"$feature/{FLAG}")])
    facts = await count(database, "series_fact")
    print(f"{name:10} fact  {(await size(database, 'series_fact') - empty) / facts:6.0f} bytes")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    arguments = parser.parse_args()
    async with databases() as opened:
        for name, database in opened.items():
            await measure(name, database, arguments.events)


if __name__ == "__main__":
    asyncio.run(main())
