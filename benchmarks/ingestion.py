"""Ingestion: events/s through POST /batch/ of a started service, beside the same rows put straight into the table.

python -m benchmarks.ingestion [--events 50000] [--rounds 3]
"""

import argparse
import asyncio
from collections.abc import Sequence

import httpx
import msgspec
from sqlalchemy import delete, select

from app.bulk import insert_rows
from app.database import Database
from app.events.repository import NewEvent
from app.models import Event, Person
from app.projects.service import AccountService
from benchmarks.serving import served
from benchmarks.workload import databases, generate, timed

BATCH = 1_000
COLUMNS = ("project_id", "uuid", "name", "distinct_id", "person_id", "time", "received_at", "properties")


async def measure(name: str, database: Database, count: int, rounds: int) -> None:
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name="Benchmark", email="benchmark@example.com", organization_name="Benchmark", timezone="UTC"
        )
    events = list(generate(count))
    bodies = [as_body(made.project.api_token, events[start : start + BATCH]) for start in range(0, count, BATCH)]

    async with served(database) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

        async def send() -> None:
            await forget(database)
            for body in bodies:
                (await client.post("/batch/", content=body)).raise_for_status()

        through = await timed(send, rounds)

    async def store() -> None:
        await forget(database)
        for start in range(0, count, BATCH):
            async with database.write() as session:
                await session.execute(select(1))
                rows = [
                    tuple(getattr(event, name, made.project.id) for name in COLUMNS) for event in events[start:][:BATCH]
                ]
                await insert_rows(session, Event, COLUMNS, rows)

    floor = await timed(store, rounds)
    print(
        f"{name:10} batches of {BATCH:,}: {count / through:9,.0f} events/s over HTTP"
        f"   rows alone {count / floor:9,.0f}/s   ratio {floor / through:.2f}"
    )


def as_body(token: str, events: Sequence[NewEvent]) -> bytes:
    batch = [
        {
            "event": event.name,
            "distinct_id": event.distinct_id,
            "uuid": str(event.uuid),
            "properties": msgspec.Raw(event.properties.encode()),
        }
        for event in events
    ]
    return msgspec.json.encode({"api_key": token, "batch": batch})


async def forget(database: Database) -> None:
    """Remove events and persons, so that every round stores everything anew."""
    async with database.write() as session:
        await session.execute(delete(Event))
        await session.execute(delete(Person))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    async with databases() as opened:
        for name, database in opened.items():
            await measure(name, database, arguments.events, arguments.rounds)


if __name__ == "__main__":
    asyncio.run(main())
