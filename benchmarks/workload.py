"""A seeded workload: events of a signup funnel, stored in a fresh database of either kind."""

import asyncio
import contextlib
import datetime as dt
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import msgspec
from sqlalchemy import text

from app.accounts.auth.api_keys import generate_token
from app.accounts.projects.repository import AccountRepository
from app.common.timestamps import to_microseconds
from app.db import migrations
from app.db.database import Database
from app.db.models import Organization, Project
from app.events.appending.repository import NewEvent, NewEventRepository
from app.settings import Settings
from tests.support.clickhouse import ClickHouseServer
from tests.support.postgresql import PostgresServer

FLAG = "signup-form"
VARIANTS = ("control", *(f"test-{number}" for number in range(1, 10)))
STEPS = ("signup_started", "signup_completed", "purchase")
START = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)
END = START + dt.timedelta(days=30)
_KINDS = {
    "$pageview": 35,
    "$autocapture": 27,
    "$feature_flag_called": 10,
    "signup_started": 8,
    "signup_completed": 4,
    "purchase": 3,
    "search": 13,
}
_FILLER = {
    "$current_url": "https://example.com/some/path?with=a&query=string",
    "$browser": "Firefox",
    "$browser_version": 107,
    "$os": "Linux",
    "$screen_height": 1080,
    "$screen_width": 1920,
    "$lib": "web",
    "$lib_version": "1.38.0",
    "$device_id": "184aa0f5d6c1f3-0f6b2e8a4d7c91-1b525635-1fa400-184aa0f5d6d2c5a",
    "$session_id": "184aa0f5d6e1a2-0b3c4d5e6f7a8b-1b525635-1fa400-184aa0f5d6f3d6b",
    "$referrer": "$direct",
}
_CHUNK = 20_000


def generate(
    count: int, variants: Sequence[str] = VARIANTS[:2], *, persons: int | None = None, seed: int = 1
) -> Iterator[NewEvent]:
    """Yield events of ``count / 10`` persons over 30 days, half of them naming a variant, 5 % up to an hour late."""
    generator = random.Random(seed)
    persons = persons or max(1, count // 10)
    kinds, weights = list(_KINDS), list(itertools.accumulate(_KINDS.values()))
    start, seconds = to_microseconds(START), 30 * 24 * 3600
    filler = msgspec.json.encode(_FILLER).decode()[:-1]
    for position in range(count):
        [name] = generator.choices(kinds, cum_weights=weights)
        person = generator.randrange(persons) + 1
        variant = variants[person % len(variants)]
        named = ""
        if name == "$feature_flag_called":
            named = f',"$feature_flag":"{FLAG}","$feature_flag_response":"{variant}"'
        elif generator.random() < 0.5:
            named = f',"$feature/{FLAG}":"{variant}"'
        late = generator.randrange(3600) if generator.random() < 0.05 else 0
        second = max(0, position * seconds // count - late)
        yield NewEvent(
            uuid=UUID(int=generator.getrandbits(128), version=4),
            name=name,
            distinct_id=f"person-{person}",
            person_id=person,
            time=start + second * 1_000_000 + generator.randrange(1_000_000),
            received_at=start,
            properties=f"{filler}{named}}}",
        )


@contextlib.asynccontextmanager
async def databases(*names: str) -> AsyncIterator[dict[str, Database]]:
    """Yield migrated databases, durable all: a SQLite file under that name, PostgreSQL ones under any other.

    ``ClickHouse`` is PostgreSQL with ClickHouse beside it.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(PostgresServer.start(durable=True, shared_buffers="512MB"))
        opened = {}
        for name in names or ("SQLite", "PostgreSQL"):
            if name == "SQLite":
                url = f"sqlite:///{Path(folder) / 'benchmark.db'}"
            else:
                await server.create_database(name)
                url = server.url(quote(name))
            beside = None
            if name == "ClickHouse":
                there = ClickHouseServer.start()
                stack.callback(there.stop)
                beside = there.url("benchmark")
            configuration = Settings(
                database_url=url, clickhouse_url=beside, database_statement_timeout=3600
            )  # they ask for more than a request may
            await asyncio.to_thread(migrations.upgrade, configuration)
            opened[name] = Database(configuration)
        try:
            yield opened
        finally:
            for database in opened.values():
                await database.close()


async def create_project(database: Database) -> int:
    async with database.write() as session:
        accounts = AccountRepository(session)
        organization = Organization(name="Benchmark")
        await accounts.add(organization)
        project = Project(
            organization_id=organization.id, name="Benchmark", timezone="UTC", api_token=generate_token("phc_")
        )
        await accounts.add(project)
        return project.id


async def load(database: Database, project_id: int, events: Iterable[NewEvent]) -> None:
    """Store events and let the database look at what it has."""
    remaining = iter(events)
    while batch := list(itertools.islice(remaining, _CHUNK)):
        async with database.write() as session:
            await NewEventRepository(session, project_id).append(batch)
    async with database.engine.connect() as connection:
        await connection.execute(text("ANALYZE"))
        await connection.commit()


async def timed(work: Callable[[], Awaitable[object]], rounds: int) -> float:
    """Return the median of the seconds that the work takes."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        await work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


async def fill(database: Database, project_id: int, count: int) -> None:
    """Put events with random uuids into a PostgreSQL database, of a tenth as many persons; indexes come last."""
    filler = msgspec.json.encode(_FILLER).decode()
    async with database.engine.begin() as connection:
        await connection.execute(text("SET LOCAL maintenance_work_mem = '1GB'"))
        indexes = (
            await connection.execute(
                text("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'event' AND indexname LIKE 'ix_%'")
            )
        ).all()
        for name, _ in indexes:
            await connection.execute(text(f"DROP INDEX {name}"))
        await connection.execute(text("ALTER TABLE event DROP CONSTRAINT uq_event_project_id_uuid"))
        await connection.execute(
            text(
                "INSERT INTO event (project_id, uuid, name, distinct_id, person_id, time, received_at, properties)"
                " SELECT :project, gen_random_uuid(), (CAST(:names AS text[]))[1 + n % 7], 'stored-' || n / 10,"
                " n / 10, n * 1000000, n * 1000000, :filler FROM generate_series(1, CAST(:count AS bigint)) AS n"
            ),
            {"project": project_id, "names": list(_KINDS), "filler": filler, "count": count},
        )
        await connection.execute(
            text("ALTER TABLE event ADD CONSTRAINT uq_event_project_id_uuid UNIQUE (project_id, uuid)")
        )
        for _, definition in indexes:
            await connection.execute(text(definition))
        await connection.execute(
            text(
                "WITH stored AS (INSERT INTO person (project_id, uuid, properties, is_identified, created_at)"
                " SELECT :project, gen_random_uuid(), '{}', false, now()"
                " FROM generate_series(1, CAST(:count AS bigint)) RETURNING id)"
                " INSERT INTO person_distinct_id (project_id, distinct_id, person_id)"
                " SELECT :project, 'stored-' || id, id FROM stored"
            ),
            {"project": project_id, "count": count // 10},
        )
        await connection.execute(text("ANALYZE"))
