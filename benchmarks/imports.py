"""Import: events/s of `abacus import` beside the same rows put straight into the tables, and the memory it takes.

python -m benchmarks.imports [--events 200000] [--rounds 3] [--workers 2] [--persons-named]

Every event has a uuid and 400 bytes of properties, and a tenth of them bring a new person. The rows go by COPY into the
tables of events, persons and distinct ids, as many events in a transaction as the importer takes, by a connection that
does nothing else. Both take turns in one database, with new events in every round. With ``--persons-named`` each line
also has the source's id of the person. `--database SQLite` measures the same there.
"""

import argparse
import asyncio
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import uvloop
from sqlalchemy import select

from app.common.timestamps import from_microseconds
from app.db.bulk import insert_rows
from app.db.database import Database
from app.db.models import Event, Person, PersonDistinctId, Project
from app.events.appending.repository import NewEvent
from app.events.imports.batches import BATCH_EVENTS
from app.events.imports.files import SourceFile
from app.events.imports.run import MOST_WORKERS, ImportOptions, ImportRun, usual_workers
from app.operations.transfer.importing import prefer_the_database
from benchmarks.workload import create_project, databases, generate

EVENT_COLUMNS = ("project_id", "uuid", "name", "distinct_id", "person_id", "time", "received_at", "properties")
PERSON_COLUMNS = ("id", "project_id", "uuid", "properties", "is_identified", "created_at", "has_profile")


def new_events(count: int, number: int) -> Iterator[NewEvent]:
    prefix = number << 96
    for position, event in enumerate(generate(count, seed=number + 1)):
        uuid = UUID(int=prefix ^ event.uuid.int, version=4) if position % 2 else event.uuid
        yield event._replace(uuid=uuid, distinct_id=f"{number}-{event.distinct_id}")


def write_file(path: Path, events: Iterator[NewEvent], *, names_persons: bool) -> None:
    with path.open("wb") as target:
        for event in events:
            line = {
                "uuid": str(event.uuid),
                "event": event.name,
                "distinct_id": event.distinct_id,
                "properties": msgspec.Raw(event.properties.encode()),
                "timestamp": from_microseconds(event.time).isoformat(sep=" "),
            }
            if names_persons:
                line["person_id"] = f"018f0000-{event.distinct_id}"
            target.write(msgspec.json.encode(line) + b"\n")


async def put_rows(database: Database, project_id: int, events: Sequence[NewEvent], number: int) -> float:
    """Return the seconds that a connection takes to put rows into the three tables."""
    first = 1_000_000_000 + number * 10_000_000
    known: dict[str, int] = {}
    pieces = []
    remaining = iter(events)
    while piece := list(islice(remaining, BATCH_EVENTS)):
        new = {one.distinct_id: one for one in piece if one.distinct_id not in known}
        for distinct_id in new:
            known[distinct_id] = first + len(known)
        persons = [
            (known[name], project_id, uuid4(), '{"$creator_event_uuid":"x"}', False, from_microseconds(one.time), True)
            for name, one in new.items()
        ]
        ids = [(project_id, name, known[name]) for name in new]
        rows = [(project_id, one.uuid, one.name, one.distinct_id, known[one.distinct_id], *one[4:]) for one in piece]
        pieces.append((persons, ids, rows))
    start = time.perf_counter()
    for persons, ids, rows in pieces:
        async with database.write() as session:
            await session.execute(select(1))
            await insert_rows(session, Person, PERSON_COLUMNS, persons)
            await insert_rows(session, PersonDistinctId, ("project_id", "distinct_id", "person_id"), ids)
            await insert_rows(session, Event, EVENT_COLUMNS, rows)
    return time.perf_counter() - start


async def import_file(database: Database, project_id: int, path: Path, workers: int) -> float:
    async with database.read() as session:
        project = await session.get_one(Project, project_id)
    start = time.perf_counter()
    run = ImportRun(database, project, ImportOptions(workers=workers), lambda _file, _share: None)
    file = SourceFile(str(path), None)
    await run.run([file])
    if run.refusals or file.counts.refused or file.counts.duplicates:
        raise RuntimeError("some events were not imported")
    return time.perf_counter() - start


def reader_seconds() -> float:
    """Return the processor time of the processes that have read files."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


async def measure(name: str, count: int, rounds: int, workers: int, *, names_persons: bool) -> None:
    async with databases(name) as opened:
        database = opened[name]
        project_id = await create_project(database)
        shares, rates = [], []
        for number in range(rounds + 1):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "events.ndjson")
                await asyncio.to_thread(write_file, path, new_events(count, number), names_persons=names_persons)
                others = new_events(count, number)
                rows = [one._replace(uuid=uuid4(), distinct_id=f"rows-{one.distinct_id}") for one in others]
                alone = await put_rows(database, project_id, rows, number)
                del rows
                processor, of_reader = time.process_time(), reader_seconds()
                own = await import_file(database, project_id, path, workers)
                processor, of_reader = time.process_time() - processor, reader_seconds() - of_reader
            used = f"{processor / count * 1e6:.1f} and {of_reader / count * 1e6:.1f} us of processor"
            print(
                f"{name}, round {number}{' (warm-up)' if not number else ''}: {count / own:,.0f} events/s, rows alone"
                f" {count / alone:,.0f}, {alone / own:.2f} of them, {used},"
                f" {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MB, load {os.getloadavg()[0]:.1f}"
            )
            if number:
                shares.append(alone / own)
                rates.append(count / own)
        print(f"{name}: {statistics.median(rates):,.0f} events/s, {statistics.median(shares):.2f} of rows alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", choices=["SQLite", "PostgreSQL"], default="PostgreSQL")
    parser.add_argument("--persons-named", action="store_true")
    parser.add_argument("--workers", type=int, choices=(1, MOST_WORKERS), default=usual_workers())
    arguments = parser.parse_args()
    prefer_the_database()  # as the command does
    names_persons = arguments.persons_named
    uvloop.run(
        measure(arguments.database, arguments.events, arguments.rounds, arguments.workers, names_persons=names_persons)
    )


if __name__ == "__main__":
    main()
