"""Facts keep up with events under concurrent writers."""

import asyncio
import contextlib
import json
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, text

from app.common import limits
from app.db.database import Database
from app.db.models import Fact
from app.events.appending.repository import NewEvent, NewEventRepository
from app.events.repository import EventRepository
from app.metrics.facts.catching_up import Unfinished
from app.metrics.facts.materializer import Materializer
from app.metrics.facts.series import EventSource, SeriesDefinition
from app.properties.filters import parse_filter
from tests.support.service import Service, event

pytestmark = [pytest.mark.one_database, pytest.mark.own_database]

PAGEVIEWS = SeriesDefinition((EventSource("$pageview", parse_filter(None)),), "$feature/checkout")


async def count_facts(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(Fact)) or 0


@pytest.mark.parametrize("direct_from", [1, 2, 10_000])
@pytest.mark.parametrize("chunk", [1, 3, 10_000])
async def test_event_becomes_one_fact_for_any_chunk_size(
    service: Service, database: Database, chunk: int, direct_from: int
) -> None:
    materializer = Materializer(database, chunk, direct_from=direct_from)
    for batch in range(3):
        await service.capture(*[event("$pageview", f"{batch} {number}") for number in range(4)], event("other", "ann"))
        await materializer.catch_up(service.project_id, [PAGEVIEWS])

    assert await count_facts(database) == 12


@pytest.mark.each_database
@pytest.mark.parametrize("chunk", [1, 3, 10_000])
async def test_events_of_several_names_become_facts_in_order_of_arrival(
    service: Service, database: Database, chunk: int
) -> None:
    sources = tuple(EventSource(name, parse_filter(None)) for name in ("a", "b", "a"))
    materializer = Materializer(database, chunk)
    for _ in range(2):
        await service.capture(*[event(name, "ann") for name in "abbacab"])
        await materializer.catch_up(service.project_id, [SeriesDefinition(sources, "$feature/checkout")])

    assert await count_facts(database) == 12


@pytest.mark.parametrize("names", [None, ["a"], ["a", "b"]])
async def test_events_are_read_by_their_bytes(
    service: Service, database: Database, names: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ROWS_BYTES", replace(limits.ROWS_BYTES, value=60))
    await store(service, database, *[sized("a", size) for size in (20, 20, 20, 21, 70, 10)])
    reached, sizes = 0, []
    async with database.read() as session:
        while (chunk := await EventRepository(session, service.project_id).named_after(names, reached, 2**40, 5)).rows:
            sizes.append([len(row[4]) for row in chunk.rows])
            reached = chunk.end

    assert sizes == [[20, 20, 20], [21], [70], [10]]


async def test_large_events_all_become_facts(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ROWS_BYTES", replace(limits.ROWS_BYTES, value=60))
    await store(service, database, *[sized("$pageview", 20 + size) for size in range(50)])

    await Materializer(database, 7).catch_up(service.project_id, [PAGEVIEWS])

    assert await count_facts(database) == 50


def sized(name: str, size: int) -> NewEvent:
    """Return an event whose properties have a number of bytes."""
    return NewEvent(uuid4(), name, "ann", 1, 0, 0, json.dumps({"k": "x" * (size - 9)}))


async def store(service: Service, database: Database, *events: NewEvent) -> None:
    async with database.write() as session:
        await NewEventRepository(session, service.project_id).append(events)


async def test_equal_definitions_share_series(service: Service, database: Database) -> None:
    condition_a = {"key": "a", "value": "1", "type": "event"}
    condition_b = {"key": "b", "value": "2", "type": "event"}
    same = [
        SeriesDefinition((EventSource("$pageview", parse_filter(conditions)),), "$feature/checkout")
        for conditions in ([condition_a, condition_b], [condition_b, condition_a])
    ]

    series = await Materializer(database).catch_up(service.project_id, same)

    assert len(series.ids) == 1


@pytest.mark.each_database
@pytest.mark.parametrize("free", [0, 1, 3])
async def test_several_series_are_made_at_once(service: Service, database: Database, free: int) -> None:
    """On as many connections as are free, with the facts that they have one after another."""
    names = ("a", "b", "c", "d")
    await service.capture(*[event(name, str(number), variant="test") for number in range(9) for name in names])
    series = [SeriesDefinition((EventSource(name, parse_filter(None)),), "$feature/checkout") for name in names]
    materializer = Materializer(database, 4, direct_from=2)

    async with contextlib.AsyncExitStack() as held:
        for other in range(database.aggregation_slots.free - free):
            await held.enter_async_context(database.aggregation_slots.slot(f"other {other}"))
        await materializer.catch_up(service.project_id, series)
        assert database.aggregation_slots.free == free

    assert await count_facts(database) == 36


async def test_series_that_have_no_time_left_keep_what_was_made(service: Service, database: Database) -> None:
    series = [SeriesDefinition((EventSource(name, parse_filter(None)),), None) for name in ("a", "b")]
    await service.capture(*[event(name, str(number)) for number in range(12) for name in ("a", "b")])
    materializer, made = Materializer(database, 2, direct_from=2), [0]

    while made[-1] < 24:
        with contextlib.suppress(Unfinished):
            await materializer.catch_up(service.project_id, series, seconds=0)
        made.append(await count_facts(database))
        assert made[-2] < made[-1]

    assert (len(made) > 3, made[-1]) == (True, 24)


async def test_progress_grows_while_facts_are_made(service: Service, database: Database) -> None:
    seen: list[int | None] = []
    materializer = Materializer(
        database, 5, lambda *_: seen.append(materializer.progress.percent(service.project_id)), direct_from=2
    )
    await service.capture(*[event("$pageview", str(number)) for number in range(20)])
    filtered = EventSource("$pageview", parse_filter([{"key": "a", "value": "1"}]))

    await materializer.catch_up(service.project_id, [PAGEVIEWS])
    done = len(seen)
    await materializer.catch_up(service.project_id, [PAGEVIEWS, SeriesDefinition((filtered,), None)])

    percents = [percent for percent in seen if percent is not None]
    assert len(percents) == len(seen) > done > 2
    assert percents == [*sorted(percents[:done]), *sorted(percents[done:])]
    assert (percents[0] < 20, percents[done - 1], percents[done] > 50, percents[-1]) == (True, 100, True, 100)
    assert materializer.progress.percent(service.project_id) is None


@pytest.mark.each_database
async def test_concurrent_requests_materialize_once(service: Service, database: Database, application: FastAPI) -> None:
    await service.capture(*[event("$pageview", str(number)) for number in range(50)])
    # The second as in another process; the third leaves the work to the database.
    here, elsewhere, direct = (
        Materializer(database, 7),
        Materializer(database, 7),
        Materializer(database, 7, direct_from=3),
    )

    await asyncio.gather(
        *[one.catch_up(service.project_id, [PAGEVIEWS]) for one in (here, elsewhere, direct) for _ in range(4)]
    )

    assert await count_facts(database) == 50


@pytest.mark.each_database
async def test_concurrent_writers_and_readers_store_every_fact_once(service: Service, database: Database) -> None:
    materializer, direct = Materializer(database, 5), Materializer(database, 5, direct_from=2)

    async def write(writer: int) -> None:
        for number in range(6):
            await service.capture(*[event("$pageview", f"{writer} {number} {part}") for part in range(3)])

    async def read(of: Materializer) -> None:
        for _ in range(10):
            await of.catch_up(service.project_id, [PAGEVIEWS])

    await asyncio.gather(*[write(writer) for writer in range(4)], read(materializer), read(direct))
    await materializer.catch_up(service.project_id, [PAGEVIEWS])

    assert await count_facts(database) == 4 * 6 * 3


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_event_that_commits_after_later_one_is_not_skipped(service: Service, database: Database) -> None:
    async with database.write() as slow:
        # The event has its sequence number, but is not committed.
        await NewEventRepository(slow, service.project_id).append([pageview(1)])
        await service.capture(event("$pageview", "fast"))
        reading = asyncio.create_task(Materializer(database).catch_up(service.project_id, [PAGEVIEWS]))
        await until_somebody_waits(database)

    await reading
    assert await count_facts(database) == 2


async def until_somebody_waits(database: Database) -> None:
    """Ask PostgreSQL until a transaction waits for a lock; the test's time limit bounds it."""
    waiting = 0
    while not waiting:
        async with database.read() as session:
            waiting = await session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))


def pageview(number: int) -> NewEvent:
    return NewEvent(UUID(int=number), "$pageview", f"slow {number}", 1, 0, 0, "{}")
