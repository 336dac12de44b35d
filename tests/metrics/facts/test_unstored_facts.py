"""Answers count facts that are not stored yet: what is promised of those, whatever happens before they are."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import func, select, text

from app.db.database import Database
from app.db.models import Fact, Series
from app.metrics.facts import catching_up
from app.metrics.facts.columns import FactColumns
from app.metrics.facts.materializer import MaterializedSeries, Materializer
from app.metrics.facts.series import EventSource, SeriesDefinition
from app.properties.filters import parse_filter
from tests.support.service import Service, event

pytestmark = [pytest.mark.own_database, pytest.mark.one_database]

VISITS = SeriesDefinition((EventSource("visit", parse_filter(None)),), "$feature/checkout")
COUNT = 40
# Statements between two steps of the event loop, and a trigger, in its words.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
REFUSAL = "CREATE TRIGGER full BEFORE INSERT ON series_fact BEGIN SELECT RAISE(ABORT, 'disk full'); END"


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catching_up, "FEW", 2)


@contextlib.asynccontextmanager
async def opened(database: Database, *, room: int = 1_000) -> AsyncIterator[Materializer]:
    materializer = Materializer(database, chunk=3, direct_from=1, unstored_facts=room)
    try:
        yield materializer
    finally:
        await materializer.close()


async def capture_visits(service: Service) -> None:
    await service.capture(*[event("visit", str(number), variant="test") for number in range(COUNT)])


async def stored(database: Database) -> tuple[int, int]:
    """Return the number of facts, and of different events among these."""
    async with database.read() as session:
        found = await session.execute(select(func.count(), func.count(Fact.sequence.distinct())).select_from(Fact))
        return found.one()


def facts_of(series: MaterializedSeries) -> FactColumns:
    return series.unstored[VISITS.digest].facts(["test"], frozenset({"actor", "sequence"}), 0, series.high_water_mark)


async def test_facts_are_counted_before_they_are_stored(service: Service, database: Database) -> None:
    await capture_visits(service)
    async with opened(database) as materializer:
        async with materializer.caught_up(service.project_id, [VISITS]) as series:
            assert await stored(database) == (0, 0)
            assert len(set(facts_of(series).sequence.tolist())) == COUNT
        await materializer.catch_up(service.project_id, [VISITS])

    assert await stored(database) == (COUNT, COUNT)


async def test_second_question_counts_what_the_first_one_made(service: Service, database: Database) -> None:
    await capture_visits(service)
    async with (
        opened(database) as materializer,
        materializer.caught_up(service.project_id, [VISITS]) as first,
        materializer.caught_up(service.project_id, [VISITS]) as second,
    ):
        assert second.unstored[VISITS.digest] is first.unstored[VISITS.digest]
        assert await stored(database) == (0, 0)


async def test_facts_beyond_the_room_are_stored_first(service: Service, database: Database) -> None:
    await capture_visits(service)
    async with (
        opened(database, room=10) as materializer,
        materializer.caught_up(service.project_id, [VISITS]) as series,
    ):
        assert series.unstored == {}
        assert await stored(database) == (COUNT, COUNT)


async def asked_in_vain(
    service: Service, database: Database, reached: list[int], leaves: Callable[[int], bool]
) -> Materializer:
    """Return a process in which the one who asked went away while facts were made, as far as was reached."""
    asking: asyncio.Task[None] | None = None

    def report(last: int, until: int) -> None:
        reached.append(last)
        if leaves(until) and asking is not None:
            asking.cancel()

    materializer = Materializer(database, chunk=3, report=report, direct_from=1, unstored_facts=1_000)

    async def ask() -> None:
        async with materializer.caught_up(service.project_id, [VISITS]):
            raise AssertionError("it was not cancelled")

    asking = asyncio.create_task(ask())
    await asyncio.wait([asking])
    assert asking.cancelled()
    return materializer


async def test_what_was_made_for_nobody_is_not_made_again(service: Service, database: Database) -> None:
    """The one who asked goes away: the next one goes on from there."""
    await capture_visits(service)
    reached: list[int] = []
    materializer = await asked_in_vain(service, database, reached, lambda _: len(reached) == 3)
    await materializer.catch_up(service.project_id, [VISITS])

    assert reached == sorted(set(reached))
    assert await stored(database) == (COUNT, COUNT)


async def test_another_process_that_was_faster_is_believed(service: Service, database: Database) -> None:
    """It may have removed events by then that this one has not read."""
    await capture_visits(service)
    elsewhere, made = Materializer(database), asyncio.Event()
    materializer = Materializer(
        database, chunk=3, report=lambda last, _: made.set() if last else None, direct_from=1, unstored_facts=1_000
    )

    async def overtake() -> None:
        await made.wait()
        await elsewhere.catch_up(service.project_id, [VISITS])

    overtaking = asyncio.create_task(overtake())
    async with materializer.caught_up(service.project_id, [VISITS]):
        await overtaking
    await materializer.catch_up(service.project_id, [VISITS])
    await materializer.close()

    assert await stored(database) == (COUNT, COUNT)


async def test_facts_of_a_series_that_was_removed_are_left_out(service: Service, database: Database) -> None:
    await capture_visits(service)
    async with opened(database) as materializer:
        async with materializer.caught_up(service.project_id, [VISITS]), database.write() as session:
            await session.execute(text("DELETE FROM series"))
        await materializer.catch_up(service.project_id, [VISITS])

    async with database.read() as session:
        [series_id] = await session.scalars(select(Series.id))
        facts = await session.scalar(select(func.count()).where(Fact.series_id == series_id))
    assert facts == COUNT
    assert await stored(database) == (COUNT, COUNT)


@ON_SQLITE
async def test_facts_that_the_database_does_not_take_are_made_again(
    service: Service, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await capture_visits(service)
    async with opened(database) as materializer:
        async with materializer.caught_up(service.project_id, [VISITS]) as series, database.write() as session:
            assert len(facts_of(series)) == COUNT
            await session.execute(text(REFUSAL))
        with pytest.raises(Exception, match="disk full"):
            await materializer.catch_up(service.project_id, [VISITS])
        assert "are made again when they are asked for" in caplog.text

        async with database.write() as session:
            await session.execute(text("DROP TRIGGER full"))
        await materializer.catch_up(service.project_id, [VISITS])

    assert await stored(database) == (COUNT, COUNT)


async def test_facts_that_nobody_has_checked_are_counted_once_stored(service: Service, database: Database) -> None:
    """Another process may have stored facts, and removed their events, while these were made for one who left."""
    await capture_visits(service)
    reached: list[int] = []
    materializer = await asked_in_vain(service, database, reached, lambda until: reached[-1] == until)
    async with materializer.caught_up(service.project_id, [VISITS]) as series:
        assert series.unstored == {}
        assert await stored(database) == (COUNT, COUNT)


@ON_SQLITE
@pytest.mark.parametrize(
    ("meanwhile", "kept"),
    [
        ("UPDATE series SET watermark = {until}", COUNT),
        ("UPDATE series SET watermark = 0; DELETE FROM series_fact", 2 * COUNT),
    ],
    ids=["another process stores them", "the database loses those before"],
)
async def test_facts_of_a_series_that_is_elsewhere_by_then_are_not_counted(
    service: Service, database: Database, meanwhile: str, kept: int
) -> None:
    is_done = False

    def report(last: int, until: int) -> None:
        nonlocal is_done
        if last == until > COUNT and not is_done:
            is_done = True
            at_once(database, meanwhile.format(until=until))

    await capture_visits(service)
    materializer = Materializer(database, chunk=3, report=report, direct_from=1, unstored_facts=1_000)
    await materializer.catch_up(service.project_id, [VISITS])
    await capture_visits(service)
    async with materializer.caught_up(service.project_id, [VISITS]) as series:
        assert series.unstored == {}
        assert await stored(database) == (kept, kept)


@ON_SQLITE
async def test_facts_of_a_series_that_was_removed_take_no_room(service: Service, database: Database) -> None:
    await capture_visits(service)
    refused = False

    def remove_series(last: int, until: int) -> None:
        nonlocal refused
        if last == until and not refused:
            refused = True
            at_once(database, "DELETE FROM series")

    materializer = Materializer(
        database, chunk=3, report=remove_series, direct_from=1, unstored_facts=COUNT + COUNT // 2
    )
    async with materializer.caught_up(service.project_id, [VISITS]):
        pass  # made twice
    await materializer.catch_up(service.project_id, [VISITS])
    await capture_visits(service)
    async with materializer.caught_up(service.project_id, [VISITS]) as series:
        assert len(facts_of(series)) == COUNT
    await materializer.close()


@ON_SQLITE
async def test_facts_are_not_stored_while_others_of_the_series_are_made(service: Service, database: Database) -> None:
    """Of two who ask, the first one is answered while further facts are made for the second one."""
    await capture_visits(service)
    are_further = asyncio.Event()

    def report(last: int, _until: int) -> None:
        if is_first_known and not are_further.is_set():
            at_once(database, REFUSAL)
            are_further.set()

    is_first_known = False
    materializer = Materializer(database, chunk=3, report=report, direct_from=1, unstored_facts=1_000)

    async def ask_again() -> list[int]:
        async with materializer.caught_up(service.project_id, [VISITS]) as series:
            unstored = series.unstored[VISITS.digest]
            stored_until, numbers = unstored.after, facts_of(series).sequence.tolist()
        async with database.read() as session:
            before = await session.scalars(select(Fact.sequence).where(Fact.sequence <= stored_until))
            return [*before, *numbers]

    async with materializer.caught_up(service.project_id, [VISITS]):
        is_first_known = True
        for _ in range(5):
            await capture_visits(service)
        second = asyncio.create_task(ask_again())
        await are_further.wait()
    numbers = await second
    await materializer.close()

    assert len(numbers) == len(set(numbers)) == 6 * COUNT


def at_once(database: Database, statements: str) -> None:
    """Execute statements between two steps of the event loop."""
    with contextlib.closing(sqlite3.connect(str(database.engine.url.database), isolation_level=None)) as connection:
        connection.executescript(statements)
