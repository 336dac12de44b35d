"""Ingestion: events/s through HTTP with one worker, for requests of 1, 100 and 1,000 events.

python -m benchmarks.ingestion [--sizes 1 100 1000] [--rounds 3] [--scale 1.0] [--database PostgreSQL] [--stored 0]

Every event has a uuid and properties of its own, and a tenth of them bring a new person. Beside it stand the
framework's floor, which reads the same bodies and stores nothing, and the same rows put straight into the same table,
as many at a time: by COPY on PostgreSQL, by ``executemany`` on SQLite. All take turns, so that a slow moment of the
machine falls on all. With ``--stored`` a second PostgreSQL database holds so many events already.

Rows alone go through one connection, one transaction after another, into the same table with the same indexes, without
the ``$ip`` that the service adds and without a look at persons and at uuids; they are made before the clock starts. The
processor time of an event is what the service took, its workers included, what the client took in this process, and
what the server of the database took with all its processes.
"""

import argparse
import contextlib
import random
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
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
from benchmarks.serving import Served, processor_seconds, served, served_floor, server_process
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


class Measured(NamedTuple):
    """Events/s through HTTP, and the microseconds of processor time that each one took."""

    rate: float
    service: float
    client: float
    database: float


@dataclass(frozen=True)
class Contestant:
    database: Database
    server_process: int | None
    service: Served
    token: str

    async def measure(self, given: Round) -> Measured:
        return await measure_requests(self.service, given.requests("/batch/", self.token), given, self.server_process)

    async def rows_alone(self, given: Round) -> float:
        """Return the rows/s of a connection that does nothing but put rows into the table, under no project."""
        pieces = [[(0, *(getattr(event, name) for name in COLUMNS[1:])) for event in piece] for piece in given.pieces()]
        start = time.perf_counter()
        for rows in pieces:
            async with self.database.write() as session:
                await session.execute(select(1))
                await insert_rows(session, Event, COLUMNS, rows)
        return len(given.events) / (time.perf_counter() - start)


async def measure_requests(
    service: Served, requests: Sequence[bytes], given: Round, server_process: int | None = None
) -> Measured:
    def used() -> tuple[float, float, float]:
        database = processor_seconds(server_process) if server_process is not None else 0.0
        return service.processor_seconds(), time.process_time(), database

    before = used()
    seconds = await send(service.port, requests, LOADS[given.size][1])
    count = len(given.events)
    return Measured(
        count / seconds, *((after - earlier) / count * 1e6 for after, earlier in zip(used(), before, strict=True))
    )


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
            made[name] = Contestant(database, await server_process(database), service, project.project.api_token)
        yield made


FILLED, TWO_WORKERS = "PostgreSQL, filled", "PostgreSQL, two workers"


async def measure(chosen: Sequence[str], sizes: Sequence[int], rounds: int, scale: float, *, stored: int) -> None:
    async with contestants(chosen, stored) as cases, served_floor() as floor:
        columns = f"{'events/s':>9} {'us CPU':>7} {'client':>7} {'database':>9}"
        print(f"{'':23} {'size':>5} {columns}   of floor   of rows alone   of plain")
        for size in sizes:
            count = max(size, int(LOADS[size][0] * scale))
            measured: dict[str, list[Measured]] = defaultdict(list)
            alone: dict[str, list[float]] = defaultdict(list)
            for given in rounds_of(size, count, rounds):
                measured["floor"].append(await measure_requests(floor, given.requests("/", ""), given))
                for name, case in cases.items():
                    measured[name].append(await case.measure(given))
                    alone[name].append(await case.rows_alone(given))
            report(size, measured, alone)


def report(size: int, measured: Mapping[str, Sequence[Measured]], alone: Mapping[str, Sequence[float]]) -> None:
    rates = {name: [one.rate for one in figures[1:]] for name, figures in measured.items()}

    def times(name: str, other: Sequence[float]) -> str:
        return f"{statistics.median(own / theirs for own, theirs in zip(rates[name], other, strict=True)):.2f}"

    for name, own in rates.items():
        _, service, client, database = (statistics.median(column) for column in zip(*measured[name][1:], strict=True))
        of_rows = times(name, alone[name][1:]) if name in alone else ""
        is_compared = name in (FILLED, TWO_WORKERS) and "PostgreSQL" in rates
        of_plain = times(name, rates["PostgreSQL"]) if is_compared else ""
        print(
            f"{name:23} {size:5,} {statistics.median(own):9,.0f} {service:7,.0f} {client:7,.0f} {database:9,.0f}"
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
