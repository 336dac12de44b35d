"""Facts that PostgreSQL stores in bulk, in no index by sequence, beside those that are added to them."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from sqlalchemy import func, select, text

from app.db.bulk import _template
from app.db.database import Database
from app.db.models import Event, Fact, Series
from app.metrics.facts import repository
from app.metrics.facts.columns import WITHOUT_VALUES, FactColumns
from app.metrics.facts.database_facts import DatabaseFacts
from app.metrics.facts.materializer import Materializer
from app.metrics.facts.repository import FactRepository
from app.metrics.facts.series import EventSource, SeriesDefinition
from app.metrics.facts.series_facts import SeriesFacts, _query
from app.properties.filters import parse_filter
from tests.conftest import settings_for
from tests.support.service import Service, event

pytestmark = [pytest.mark.parametrize("database_url", ["postgresql"], indirect=True), pytest.mark.own_database]

ANY = parse_filter(None)
VISITS = SeriesDefinition((EventSource("visit", ANY),), "$feature/checkout")
AMOUNTS = SeriesDefinition((EventSource("visit", ANY),), "$feature/checkout", "amount")
# Matched in Python: the database does not decide about regular expressions.
MATCHED = SeriesDefinition(
    (EventSource("visit", parse_filter([{"key": "n", "value": "1", "operator": "regex"}])),), None
)
MARK = 2**40


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "BULK_AFTER_BULK", 2)
    monkeypatch.setattr(repository, "BULK", 5)


async def capture_visits(service: Service, *numbers: int) -> None:
    properties = [{"amount": number, "n": 1} if number % 2 else {"n": 1} for number in numbers]
    visits = [
        event("visit", f"person {number * 7 % 4}", variant="test", properties=one)
        for number, one in zip(numbers, properties, strict=True)
    ]
    await service.capture(*visits)


async def kinds(database: Database) -> dict[int, list[bool | None]]:
    """Return how the facts of each series are stored, in the order of their events."""
    found: dict[int, list[bool | None]] = {}
    async with database.read() as session:
        for series_id, is_appended in await session.execute(
            select(Fact.series_id, Fact.is_appended).order_by(Fact.series_id, Fact.sequence)
        ):
            found.setdefault(series_id, []).append(is_appended)
    return found


@pytest.mark.parametrize("direct_from", [8, 1000])
async def test_facts_are_found_however_they_are_stored(service: Service, database: Database, direct_from: int) -> None:
    materializer = Materializer(database, 100, direct_from=direct_from)
    for start, end in ((0, 4), (4, 6), (6, 7), (7, 9), (9, 19), (19, 20)):
        await capture_visits(service, *range(start, end))
        series = await materializer.catch_up(service.project_id, [VISITS, AMOUNTS])
    ids = [series.ids[one.digest] for one in (VISITS, AMOUNTS)]
    async with database.read() as session:
        rows = await session.execute(select(Event.sequence, Event.person_id).order_by(Event.sequence))
        events = {row.sequence: row.person_id for row in rows}
        visits, amounts = (SeriesFacts(session, [one], ["test"], WITHOUT_VALUES) for one in ids)
        both = SeriesFacts(session, ids, ["test"], WITHOUT_VALUES | {"value"})
        for watermark in [0, *events]:
            later = [one for one in events if one > watermark]
            for found in (await visits.after(watermark, MARK, 100), await amounts.after(watermark, MARK, 100)):
                assert [sequences(part) for part in found] == [later]
            assert [sequences(part) for part in await both.of_events(later)] == [later, later]
        assert sum(map(len, await visits.after(0, MARK, 3))) == 3
        owners = sorted(set(events.values()))
        several: list[list[list[int]]] = [[owners[:1]] * 2, [owners[1:3], owners[2:]], [owners, []], [[], []]]
        for wanted in several:
            of_persons = await both.of_persons(dict(zip(ids, wanted, strict=True)), 0, MARK)
            assert [sequences(part) for part in of_persons] == [
                [one for one, owner in events.items() if owner in some] for some in wanted
            ]
        [amount] = await SeriesFacts(session, ids[1:], [], WITHOUT_VALUES | {"value"}).since(0, MARK)

    stored = await kinds(database)
    for one in ids:
        assert (stored[one][:9], stored[one][18:]) == ([None] * 6 + [True] * 3, [None, True])
    assert sorted(amount.value[~np.isnan(amount.value)]) == list(range(1, 20, 2))


async def test_some_new_events_do_not_make_counts_read_all_facts(service: Service, database: Database) -> None:
    """A series that was made in bulk, and gets a thirtieth of its events at a time."""
    materializer = Materializer(database)
    for numbers in (range(60), range(60, 62), range(62, 64)):
        await capture_visits(service, *numbers)
        await materializer.catch_up(service.project_id, [VISITS])

    assert list((await kinds(database)).values()) == [[None] * 60 + [True] * 4]


def sequences(facts: FactColumns) -> list[int]:
    return sorted(facts.sequence.tolist())


async def test_watermark_keeps_events_from_becoming_two_facts(
    service: Service, database: Database, database_url: str
) -> None:
    """Processes that make the same facts at once: in bulk there is no key that would refuse the second one."""
    await capture_visits(service, *range(60))
    elsewhere = Database(settings_for(database_url))
    processes = [
        Materializer(one, chunk, direct_from=direct_from)
        for one in (database, elsewhere)
        for chunk, direct_from in ((7, 1000), (7, 3), (20, 3))
    ]
    try:
        await asyncio.gather(*[one.catch_up(service.project_id, [VISITS, MATCHED]) for one in processes * 2])
    finally:
        await elsewhere.close()

    found = await kinds(database)
    assert [len(one) for one in found.values()] == [60, 60]
    assert all(None in one for one in found.values())


async def test_facts_of_both_kinds_are_removed_some_at_a_time(service: Service, database: Database) -> None:
    for numbers in (range(8), range(8, 10)):
        await capture_visits(service, *numbers)
        series = await Materializer(database).catch_up(service.project_id, [VISITS, AMOUNTS])
    series_id, left = series.ids[VISITS.digest], []
    async with database.write() as session:
        await FactRepository(session, service.project_id).retire([AMOUNTS.digest])

    while not await DatabaseFacts(database).remove_some(service.project_id, series_id, 4):
        left.append(len((await kinds(database)).get(series_id, [])))

    assert left == [6, 2]
    assert list(await kinds(database)) == [series.ids[AMOUNTS.digest]]
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Series)) == 1


@pytest.mark.parametrize("choice", ["after", "of events"])
async def test_new_facts_are_found_without_reading_their_series(
    service: Service, database: Database, choice: str
) -> None:
    """Even before PostgreSQL has looked at the table."""
    query = _query(choice, WITHOUT_VALUES, "postgresql", are_appended=True)
    numbers: dict[str, int | Sequence[int]] = {
        "series": [1, 2],
        "watermark": 5,
        "mark": MARK,
        "limit": 10,
        "sequences": [6, 7],
    }
    statement = _template(query, "postgresql").statement(numbers)

    async with database.read() as session:
        await session.execute(text("SET LOCAL enable_seqscan = off"))  # of an empty table
        plan = "\n".join(await session.scalars(text(f"EXPLAIN {statement}")))

    assert "uq_fact_series_id_sequence" in plan, plan
