"""Materialization: events/s from stored events to facts, with and without the help of the database, in turn.

Storing the same facts alone is the floor.

python -m benchmarks.facts [--events 200000] [--rounds 3]
"""

import argparse
import asyncio
import statistics
from functools import partial

from sqlalchemy import delete, select, update

from app.db.bulk import insert_rows
from app.db.database import Database
from app.db.models import Fact, Series
from app.metrics.facts.materializer import DIRECT_FROM, Materializer
from app.metrics.facts.series import EventSource, SeriesDefinition
from app.properties.filters import parse_filter
from benchmarks.workload import FLAG, STEPS, create_project, databases, generate, load, timed

NEVER = 10**15
COLUMNS = ("series_id", "sequence", "person_id", "time", "value", "variant")
CONDITIONS = [
    {"key": "$browser", "operator": "exact", "value": ["Firefox"]},
    {"key": "$screen_width", "operator": "gt", "value": 800},
    {"key": "$current_url", "operator": "icontains", "value": "example"},
]


async def measure(name: str, database: Database, count: int, rounds: int) -> None:
    project_id = await create_project(database)
    await load(database, project_id, generate(count))
    pageviews = (EventSource("$pageview", parse_filter(None)),)
    filtered = (EventSource("$pageview", parse_filter(CONDITIONS)),)
    series = {
        "names only": SeriesDefinition(pageviews, None),
        "a number": SeriesDefinition(pageviews, None, "$screen_width"),
        "no filter": SeriesDefinition(pageviews, f"$feature/{FLAG}"),
        "three filters": SeriesDefinition(filtered, f"$feature/{FLAG}"),
        "four names": SeriesDefinition(
            tuple(EventSource(name, parse_filter(None)) for name in ("$pageview", *STEPS)), f"$feature/{FLAG}"
        ),
        "sessions": SeriesDefinition(pageviews, f"$feature/{FLAG}", actor_property="$session_id"),
    }
    for label, definition in series.items():
        ways = {"by the database": DIRECT_FROM, "in Python": NEVER}
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, direct_from in ways.items():
                await forget(database)
                materializer = Materializer(database, direct_from=direct_from)
                taken[way].append(await timed(partial(materializer.catch_up, project_id, [definition]), 1))
        seconds, in_python = (statistics.median(taken[way]) for way in ways)
        async with database.read() as session:
            rows = [tuple(row) for row in await session.execute(select(*(getattr(Fact, name) for name in COLUMNS)))]

        async def store(rows: list[tuple[object, ...]] = rows) -> None:
            await forget(database)
            async with database.write() as session:
                await session.execute(select(1))
                await insert_rows(session, Fact, COLUMNS, rows)

        floor = await timed(store, rounds)
        print(
            f"{name:10} {label:13} {len(rows):9,} matching events  {len(rows) / seconds:9,.0f} events/s"
            f"   in Python {len(rows) / in_python:9,.0f}/s   ratio {in_python / seconds:.2f}"
            f"   storing the facts alone {len(rows) / floor:9,.0f}/s   ratio {floor / seconds:.2f}"
        )


async def forget(database: Database) -> None:
    async with database.write() as session:
        await session.execute(delete(Fact))
        await session.execute(update(Series).values(watermark=0))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    async with databases() as opened:
        for name, database in opened.items():
            await measure(name, database, arguments.events, arguments.rounds)


if __name__ == "__main__":
    asyncio.run(main())
