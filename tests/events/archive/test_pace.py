"""Copies of events leave capture its share of the time, and never fall behind for ever."""

import datetime as dt
from typing import Any

import pytest

from app.db.clickhouse import ClickHouse
from app.db.database import Database
from app.events.archive.archiver import AnotherArchiverError, EventArchiver
from app.events.archive.pace import ArchivePace
from tests.support.service import Service, event


class Clock:
    """A time that passes only while something waits."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.rests: list[float] = []

    async def wait(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> ArchivePace:
    return ArchivePace(lambda: clock.now, clock.wait)


def store(pace: ArchivePace, clock: Clock, rate: float, since: int = 0) -> int:
    """Let events be stored for a second; return the number of the last one."""
    pace.look(since)
    clock.now += 1
    pace.look(since + round(rate))
    return since + round(rate)


async def test_copies_take_a_fifth_of_the_time_while_events_are_stored(pace: ArchivePace, clock: Clock) -> None:
    store(pace, clock, 5_000)

    await pace.rest(0.5, 20_000, 0)

    assert clock.rests == [2.0]


async def test_copies_are_at_full_speed_while_few_events_are_stored(pace: ArchivePace, clock: Clock) -> None:
    small = pace.batch
    store(pace, clock, 10)

    await pace.rest(5, 100_000, 0)

    assert clock.rests == []
    assert pace.batch > small


async def test_batches_are_small_until_it_is_known_what_is_stored(pace: ArchivePace, clock: Clock) -> None:
    small = pace.batch
    store(pace, clock, 1_000)
    assert pace.batch == small


@pytest.mark.parametrize(("rate", "seconds"), [(1_000, 0.5), (20_000, 0.4), (50_000, 1.0)])
async def test_a_large_backlog_shrinks_however_much_is_stored(
    pace: ArchivePace, clock: Clock, rate: float, seconds: float
) -> None:
    """As far as the time allows: where a batch alone takes longer, there is no rest at all."""
    last = store(pace, clock, rate, since=9_000_000)

    await pace.rest(seconds, 20_000, last - 5_000_000)

    stored_meanwhile = rate * (seconds + sum(clock.rests))
    assert stored_meanwhile < 20_000 or not clock.rests
    assert sum(clock.rests) <= 4 * seconds


async def test_a_slow_batch_is_not_followed_by_a_rest_without_end(pace: ArchivePace, clock: Clock) -> None:
    """ClickHouse may take minutes for a batch; other projects wait during the rest."""
    store(pace, clock, 5_000)

    await pace.rest(600.0, 20_000, 0)

    assert clock.rests == [30.0]


async def test_what_is_stored_in_batches_is_seen_however_often_projects_are_looked_at(
    pace: ArchivePace, clock: Clock
) -> None:
    small, last = pace.batch, store(pace, clock, 2_000)
    for _ in range(5):  # projects that have nothing to copy, between two batches of a busy one
        clock.now += 0.005
        pace.look(last)

    await pace.rest(0.5, 20_000, 0)

    assert (pace.batch, clock.rests) == (small, [2.0])


async def test_what_is_removed_keeps_up_with_what_is_stored(pace: ArchivePace, clock: Clock) -> None:
    store(pace, clock, 10_000)

    await pace.rest(0.4, 10_000, None)

    assert 0.4 + sum(clock.rests) < 1


@pytest.mark.clickhouse("always")
@pytest.mark.parametrize("database_url", ["clickhouse"], indirect=True)
async def test_an_archiver_rests_after_each_batch_and_leaves_the_rest_to_another_one(
    service: Service, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = database.clickhouse
    assert isinstance(there, ClickHouse)
    monkeypatch.setattr("app.events.archive.pace._SMALL_BATCH", 2)
    monkeypatch.setattr("app.events.archive.pace._BUSY", -1.0)
    copied: list[int] = []

    def archiver(**options: Any) -> EventArchiver:
        return EventArchiver(database, there, service.project_id, copied.append, **options)

    async def wait(seconds: float) -> None:
        await clock.wait(seconds)
        if len(clock.rests) == 2:  # another one copies some meanwhile
            await anext(archiver(batch=3).steps(dt.timedelta(days=1)))

    ticks = iter(range(1_000_000))
    await service.capture(*[event("visit", f"ann {number}") for number in range(9)])

    with pytest.raises(AnotherArchiverError):
        async for _ in archiver(pace=ArchivePace(lambda: clock.now + next(ticks), wait)).steps(dt.timedelta(days=1)):
            pass

    assert clock.rests == [4.0, 4.0]
    assert copied == [2, 2, 3]
