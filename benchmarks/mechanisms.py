"""Compiled queries, direct dispatch, COPY and partial decoding, each beside the ordinary way, in one process.

python -m benchmarks.mechanisms [--rounds 21] [--calls 100] [--events 1000]

All ways of one mechanism take turns, so that a slow moment of the machine falls on all. The figures are medians of the
rounds, by the clock and by this process' processor, which is steadier on a busy machine and knows nothing of the
database's work. The ratio is to the product's own way, which comes first.
"""

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import msgspec
import uvloop
from fastapi import FastAPI
from sqlalchemy import insert, select
from starlette.middleware import Middleware
from starlette.types import Message

from app.accounts.projects.service import AccountService, NewProject
from app.db.bulk import insert_rows, table_of
from app.db.database import Database
from app.db.drivers import driver_of
from app.db.models import Event
from app.events.appending.repository import NewEvent
from app.events.capture.decoding import wire
from app.experiments.dependencies import build_experiments
from app.experiments.repository import _RECORD, ExperimentRepository
from app.experiments.schemas import ExperimentCreate
from app.flags.dependencies import build_flags
from app.flags.schemas import FlagCreate
from app.http.middleware.direct_dispatch import DirectDispatchMiddleware
from app.main import create_app
from app.settings import Settings
from benchmarks.workload import databases, generate
from tests.support.service import FUNNEL

Work = Callable[[], Awaitable[object]]
Row = tuple[object, ...]

FLAGS = 20
COLUMNS = ("project_id", *NewEvent._fields)


async def compare(title: str, unit: str, per_round: int, ways: Mapping[str, Work], rounds: int) -> None:
    """Print the medians of each way; the first round is for warming up."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, work in ways.items():
            start, used = time.perf_counter(), time.process_time()
            await work()
            measured[name].append((time.perf_counter() - start, time.process_time() - used))
    medians = {
        name: [statistics.median(column) / per_round * 1e6 for column in zip(*figures[1:], strict=True)]
        for name, figures in measured.items()
    }
    own_clock, own_used = next(iter(medians.values()))
    print(f"\n{title:46} {'us':>9} {'ratio':>6} {'us CPU':>9} {'ratio':>6}   each for {unit}")
    for name, (clock, used) in medians.items():
        print(f"  {name:44} {clock:9,.1f} {clock / own_clock:6.2f} {used:9,.1f} {used / own_used:6.2f}")


def repeated(work: Work, calls: int) -> Work:
    async def run() -> None:
        for _ in range(calls):
            await work()

    return run


async def prepare(database: Database) -> NewProject:
    """Make a project with an experiment, and with flags for SDKs."""
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name="Benchmark", email="benchmark@example.com", organization_name="Benchmark", timezone="UTC"
        )
        body = {"name": "Experiment", "feature_flag_key": "experiment", "filters": FUNNEL}
        await build_experiments(session, made.project.id).create(ExperimentCreate.model_validate(body), made.user)
        variants = [{"key": "control", "rollout_percentage": 50}, {"key": "test", "rollout_percentage": 50}]
        filters = {"groups": [{"rollout_percentage": 80}], "multivariate": {"variants": variants}}
        for number in range(FLAGS):
            flag = {"key": f"flag-{number}", "filters": filters}
            await build_flags(session, made.project.id).create(FlagCreate.model_validate(flag), made.user)
    return made


def read_ways(database: Database, project_id: int) -> Mapping[str, Work]:
    """Return ways to read an experiment with its flag, by key."""
    values = {"project_id": project_id, "experiment_id": 1}

    async def compiled() -> object:
        return await database.fetch(_RECORD, values)

    async def core() -> object:
        async with database.reading_engine.connect() as connection:
            return (await connection.execute(_RECORD, values)).all()

    async def orm() -> object:
        async with database.read() as session:
            return await ExperimentRepository(session, project_id).get(1)

    return {"compiled query, given to the driver": compiled, "SQLAlchemy Core": core, "ORM session": orm}


@contextlib.asynccontextmanager
async def applications(database: Database) -> AsyncIterator[tuple[FastAPI, FastAPI]]:
    """Yield the service as it is, and the same without its direct dispatch."""
    url = database.engine.url.render_as_string(hide_password=False)
    settings = Settings(database_url=url, refresh_interval=0, log_level="warning")
    own, ordinary = create_app(settings), create_app(settings)
    ordinary.user_middleware = [one for one in ordinary.user_middleware if not _is_direct_dispatch(one)]
    async with own.router.lifespan_context(own), ordinary.router.lifespan_context(ordinary):
        yield own, ordinary


def _is_direct_dispatch(middleware: Middleware) -> bool:
    added: object = middleware.cls
    return added is DirectDispatchMiddleware


def asking_for_flags(application: FastAPI, token: str) -> Work:
    body = json.dumps({"token": token, "distinct_id": "ann"}).encode()
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]

    async def ask() -> None:
        statuses = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await application(
            {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": "POST",
                "scheme": "http",
                "path": "/flags/",
                "raw_path": b"/flags/",
                "root_path": "",
                "query_string": b"v=2",
                "headers": headers,
                "client": ("127.0.0.1", 1),
                "server": ("127.0.0.1", 80),
            },
            receive,
            send,
        )
        if statuses != [200]:
            raise RuntimeError(f"answered {statuses}")

    return ask


def store_ways(database: Database, events: Sequence[NewEvent]) -> Mapping[str, Work]:
    """Return ways to store the events once more, under uuids that are not there yet."""
    statement = insert(table_of(Event))
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    text = f"INSERT INTO event ({names}) VALUES ({', '.join(f'${place}' for place in range(1, len(COLUMNS) + 1))})"

    def rows() -> list[Row]:
        return [(0, *event._replace(uuid=uuid4())) for event in events]

    async def copy() -> None:
        async with database.write() as session:
            await session.execute(select(1))
            await insert_rows(session, Event, COLUMNS, rows())

    async def executemany() -> None:
        async with database.write() as session:
            await session.execute(select(1))
            await (await driver_of(session)).executemany(text, rows())

    async def core() -> None:
        async with database.write() as session:
            await session.execute(statement, [dict(zip(COLUMNS, row, strict=True)) for row in rows()])

    return {"COPY": copy, "the driver's executemany": executemany, "SQLAlchemy Core": core}


def decode_ways(events: Sequence[NewEvent]) -> Mapping[str, Work]:
    """Return ways from the bytes of a batch to each event's members, with its properties as text for the table."""
    batch = [
        {
            "event": event.name,
            "distinct_id": event.distinct_id,
            "uuid": str(event.uuid),
            "properties": msgspec.Raw(event.properties.encode()),
        }
        for event in events
    ]
    body = msgspec.json.encode({"api_key": "phc_benchmark", "batch": batch})

    async def partial() -> object:
        decoded: Sequence[Any] = wire.parse_request(body).events  # the decoder alone, without rules
        return [(one.event, UUID(one.uuid), bytes(one.properties).decode()) for one in decoded]

    async def whole_msgspec() -> object:
        decoded = msgspec.json.decode(body)
        return [
            (one["event"], UUID(one["uuid"]), msgspec.json.encode(one["properties"]).decode())
            for one in decoded["batch"]
        ]

    async def whole() -> object:
        decoded = json.loads(body)
        return [(one["event"], UUID(one["uuid"]), json.dumps(one["properties"])) for one in decoded["batch"]]

    return {
        "members only, properties as they came": partial,
        "msgspec, properties decoded and encoded": whole_msgspec,
        "json.loads, properties by json.dumps": whole,
    }


async def measure(rounds: int, calls: int, count: int) -> None:
    events = list(generate(count))
    async with databases() as opened:
        for name, database in opened.items():
            made = await prepare(database)
            ways = {way: repeated(work, calls) for way, work in read_ways(database, made.project.id).items()}
            await compare(f"One experiment by key, {name}", "a read", calls, ways, rounds)
            async with applications(database) as (own, ordinary):
                both = {"direct dispatch": own, "the framework's route": ordinary}
                ways = {
                    way: repeated(asking_for_flags(application, made.project.api_token), calls)
                    for way, application in both.items()
                }
                await compare(f"POST /flags/ with {FLAGS} flags, {name}", "an answer", calls, ways, rounds)
        await compare(
            f"{count:,} events into PostgreSQL", "an event", count, store_ways(opened["PostgreSQL"], events), rounds
        )
    await compare(f"{count:,} events out of a request", "an event", count, decode_ways(events), rounds)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--calls", type=int, default=100, help="reads and answers of a round")
    parser.add_argument("--events", type=int, default=1_000, help="events of a round")
    arguments = parser.parse_args()
    await measure(arguments.rounds, arguments.calls, arguments.events)


if __name__ == "__main__":
    uvloop.run(main())
