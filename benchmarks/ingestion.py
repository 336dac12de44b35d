"""Ingestion: events/s through HTTP with one worker, for requests of 1, 100 and 1,000 events.

python -m benchmarks.ingestion [--sizes 1 100 1000] [--rounds 3] [--scale 1.0] [--database PostgreSQL] [--stored 0]

Every event has a uuid and properties of its own, and a tenth of them bring a new person. Beside it stand the
framework's floor, which reads the same bodies and stores nothing, and the same rows put straight into the same table,
as many at a time: by COPY on PostgreSQL, by ``executemany`` on SQLite. All take turns, so that a slow moment of the
machine falls on all. With ``--stored`` a second PostgreSQL database holds so many events already.
"""

import argparse
import contextlib
import random
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
import uvloop
from sqlalchemy import select

from app.accounts.projects.service import AccountService
from app.db.bulk import insert_rows
from app.db.database import Database
from app.db.models import Event
from app.events.appending.repository import NewEvent
from benchmarks.clients import post, send
from benchmarks.serving import Served, served, served_floor
from benchmarks.workload import databases, fill, generate

COLUMNS = ("project_id", "uuid", "name", "distinct_id", "person_id", "time", "received_at", "properties")
# Events of a round and connections, by the size of requests.
LOADS = {1: (3_000, 64), 100: (10_000, 8), 1_000: (20_000, 4)}


@dataclass(frozen=True)
class Round:
    """The events that each contestant gets: the same to all, new in every round."""

    size: int
    events: Sequence[NewEvent]

    def pieces(self) -> Iterator[Sequence[NewEvent]]:
        return (self.events[start : start + self.size] for start in range(0, len(self.events), self.size))

    def requests(self, path: str, token: str) -> Sequence[bytes]:
        return [post(path, _body(token, piece)) for piece in self.pieces()]


@dataclass(frozen=True)
class Contestant:
    database: Database
    service: Served
    token: str

    async def rate(self, given: Round) -> tuple[float, float]:
        """Return events/s through HTTP, and the microseconds of the service's processor that an event takes."""
        return await rate(self.service, given.requests("/batch/", self.token), given)

    async def rows_alone(self, given: Round) -> float:
        """Return the rows/s of a connection that does nothing but put rows into the table, under no project."""
        pieces = [[(0, *(getattr(event, name) for name in COLUMNS[1:])) for event in piece] for piece in given.pieces()]
        start = time.perf_counter()
        for rows in pieces:
            async with self.database.write() as session:
                await session.execute(select(1))
                await insert_rows(session, Event, COLUMNS, rows)
        return len(given.events) / (time.perf_counter() - start)


async def rate(service: Served, requests: Sequence[bytes], given: Round) -> tuple[float, float]:
    before = service.processor_seconds()
    seconds = await send(service.port, requests, LOADS[given.size][1])
    used = service.processor_seconds() - before
    return len(given.events) / seconds, used / len(given.events) * 1e6


def _body(token: str, events: Sequence[NewEvent]) -> bytes:
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


def rounds_of(size: int, count: int, rounds: int) -> Iterator[Round]:
    """Yield rounds of events with persons and uuids that no other round has; the first one is for warming up."""
    generator = random.Random(size)
    for number in range(rounds + 1):
        yield Round(
            size,
            [
                event._replace(
                    uuid=UUID(int=generator.getrandbits(128), version=4),
                    distinct_id=f"{size}-{number}-{event.distinct_id}",
                )
                for event in generate(count)
            ],
        )


@contextlib.asynccontextmanager
async def contestants(chosen: Sequence[str], stored: int) -> AsyncIterator[Mapping[str, Contestant]]:
    async with databases(*chosen) as opened, contextlib.AsyncExitStack() as stack:
        made = {}
        for name, database in opened.items():
            async with database.write() as session:
                project = await AccountService(session).set_up_project(
                    name="Benchmark", email="benchmark@example.com", organization_name="Benchmark", timezone="UTC"
                )
            if name == FILLED:
                await fill(database, project.project.id, stored)
            service = await stack.enter_async_context(served(database, workers=2 if name == TWO_WORKERS else 1))
            made[name] = Contestant(database, service, project.project.api_token)
        yield made


FILLED, TWO_WORKERS = "PostgreSQL, filled", "PostgreSQL, two workers"


async def measure(chosen: Sequence[str], sizes: Sequence[int], rounds: int, scale: float, *, stored: int) -> None:
    async with contestants(chosen, stored) as cases, served_floor() as floor:
        print(f"{'':20} {'size':>5} {'events/s':>9} {'us CPU':>7}   of floor   of rows alone   of plain")
        for size in sizes:
            count = max(size, int(LOADS[size][0] * scale))
            measured: dict[str, list[tuple[float, float]]] = defaultdict(list)
            alone: dict[str, list[float]] = defaultdict(list)
            for given in rounds_of(size, count, rounds):
                measured["floor"].append(await rate(floor, given.requests("/", ""), given))
                for name, case in cases.items():
                    measured[name].append(await case.rate(given))
                    alone[name].append(await case.rows_alone(given))
            report(size, measured, alone)


def report(
    size: int, measured: Mapping[str, Sequence[tuple[float, float]]], alone: Mapping[str, Sequence[float]]
) -> None:
    rates = {name: [rate for rate, _ in figures[1:]] for name, figures in measured.items()}

    def times(name: str, other: Sequence[float]) -> str:
        return f"{statistics.median(own / theirs for own, theirs in zip(rates[name], other, strict=True)):.2f}"

    for name, own in rates.items():
        processor = statistics.median(used for _, used in measured[name][1:])
        of_rows = times(name, alone[name][1:]) if name in alone else ""
        is_compared = name in (FILLED, TWO_WORKERS) and "PostgreSQL" in rates
        of_plain = times(name, rates["PostgreSQL"]) if is_compared else ""
        print(
            f"{name:20} {size:5,} {statistics.median(own):9,.0f} {processor:7,.0f}"
            f" {times(name, rates['floor']):>10} {of_rows:>15} {of_plain:>10}"
        )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="more or fewer events in each round")
    parser.add_argument("--database", choices=["SQLite", "PostgreSQL"], nargs="+", default=["SQLite", "PostgreSQL"])
    parser.add_argument("--stored", type=int, default=0, help="events that a further PostgreSQL database holds already")
    arguments = parser.parse_args()
    chosen = [*arguments.database, *([FILLED] if arguments.stored else [])]
    await measure(chosen, arguments.sizes, arguments.rounds, arguments.scale, stored=arguments.stored)


if __name__ == "__main__":
    uvloop.run(main())
