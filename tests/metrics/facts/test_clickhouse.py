"""Facts in ClickHouse count as those in the database do, whatever fails between the two."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from app.common.errors import Unavailable
from app.db.clickhouse import ClickHouse, ClickHouseUnavailable
from app.db.database import Database
from app.db.models import Fact, Series, utc_now
from app.metrics.counting import deltas, incremental
from app.metrics.counting.service import FactService
from app.metrics.facts import clickhouse_facts, clickhouse_inserts, moving, repository
from app.metrics.facts.event_sets import series_of
from app.metrics.facts.materializer import Materializer
from app.metrics.facts.moving import FactMove
from app.metrics.facts.repository import FactRepository
from app.metrics.facts.series import EventSource, SeriesDefinition
from app.metrics.facts.stored_series import SeriesQueries
from app.metrics.queries.funnel import funnel_fact_query
from app.metrics.queries.parsing import read_funnel
from app.metrics.queries.scope import ExperimentScope
from app.operations.probes import HealthMonitor
from app.properties.filters import parse_filter
from app.settings import Settings
from tests.conftest import new_service
from tests.metrics.counting.test_incremental import fact_queries, happened, live_through, shown
from tests.support.examples import examples
from tests.support.service import Service, event
from tests.support.striking import Striking

pytestmark = [
    pytest.mark.clickhouse("always"),
    pytest.mark.parametrize("database_url", ["clickhouse"], indirect=True),
]

CHECKOUT = SeriesDefinition((EventSource("visit", parse_filter(None)),), "$feature/checkout", "amount")
AT = "2022-11-01T05:00:00Z"
STEPS = ("visit", "buy", "cart")
NAMES = ("sequence", "actor", "time", "variant", "value")
START = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)


@pytest.fixture
def there(database: Database) -> ClickHouse:
    assert database.clickhouse is not None
    return database.clickhouse


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clickhouse_inserts, "_PAUSE_SECONDS", 0.0)


def visits(count: int, variant: str = "test", person: str = "ann") -> list[dict[str, Any]]:
    return [
        event("visit", f"{person} {number}", timestamp=AT, properties={"$feature/checkout": variant, "amount": number})
        for number in range(count)
    ]


async def rows_in_both(database: Database, there: ClickHouse, series_id: int) -> tuple[int, int]:
    async with database.read() as session:
        here = await session.scalar(select(func.count()).where(Fact.series_id == series_id))
    return here or 0, int(
        str(await there.execute(f"SELECT count() FROM {there.table('fact')} WHERE series = {series_id}"))
    )


def funnel(hours: int = 30, steps: Sequence[str] = ("visit", "buy")) -> Any:
    scope = ExperimentScope(
        "checkout", ("control", "test"), START, None, START + dt.timedelta(hours=hours), ZoneInfo("UTC")
    )
    read = read_funnel({"events": [{"id": name, "order": order} for order, name in enumerate(steps)]})
    return funnel_fact_query(read, scope)


# Persons are counted by the one, and events by the other: a fact that is there twice is seen in the latter.
METRICS = [funnel(), fact_queries(30)[2]]


@settings(max_examples=examples(10) // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(
        st.one_of(st.lists(happened, min_size=1, max_size=6), st.tuples(st.integers(1, 6), st.integers(1, 6))),
        min_size=1,
        max_size=3,
    )
)
async def test_incremental_counts_equal_recomputed_counts(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch, history: list[Any]
) -> None:
    monkeypatch.setattr(deltas, "MAX_DELTA", 5)
    monkeypatch.setattr(incremental, "FACTS_AT_ONCE", 2)

    await live_through(
        history,
        lambda hours, edit: fact_queries(hours, edit)[:3],
        (await new_service(client, database)).project_id,
        database,
    )


@pytest.mark.parametrize("at_once", [1_000, 3], ids=["whole series", "ranges of actors"])
async def test_queries_of_one_answer_count_as_each_does_alone(
    service: Service, database: Database, there: ClickHouse, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """What they share is read once; ranges of actors, which bound the memory, are read for each query."""
    monkeypatch.setattr(incremental, "FACTS_AT_ONCE", at_once)
    statements: list[str] = []
    read = there.columns

    async def noted(statement: str, names: Sequence[str]) -> Any:
        statements.append(statement)
        return await read(statement, names)

    monkeypatch.setattr(there, "columns", noted)
    for person in ("ann", "bob", "cleo"):
        await service.capture(*visits(4, person=person), *visits(2, "control", f"{person} again"))
    await service.capture(event("$identify", "ann 1", AT, properties={"$anon_distinct_id": "bob again 1"}))
    facts, metrics = FactService(database, Materializer(database), service.project_id), fact_queries(30)
    await facts.catch_up(metrics)

    def reads_since(place: int) -> int:
        return sum("arrayJoin" not in one and "count()" not in one for one in statements[place:])

    before = len(statements)
    together = [shown(counts) for counts in await facts.counts(metrics, recompute=True)]
    reads_together, after = reads_since(before), len(statements)
    alone = [shown(counts) for metric in metrics for counts in await facts.counts([metric], recompute=True)]

    assert together == alone
    assert (reads_together < reads_since(after)) == (at_once == 1_000)


async def test_facts_are_the_same_in_both(service: Service, database: Database, there: ClickHouse) -> None:
    await service.capture(*visits(5), *visits(3, "control", "bob"), event("visit", "cleo", properties={}))
    moved = await columns_of(service, database)
    await FactMove(database, there, service.project_id, lambda _: None).from_clickhouse()

    assert await columns_of(service, database) == moved
    assert [row[3:] for row in moved] == [
        *([("2", f"{number}.0") for number in range(5)]),
        *([("1", f"{number}.0") for number in range(3)]),
        ("0", "nan"),
    ]


async def columns_of(service: Service, database: Database) -> list[tuple[Any, ...]]:
    materializer = Materializer(database, chunk=4)
    series = await materializer.catch_up(service.project_id, [CHECKOUT])
    facts = FactService(database, materializer, service.project_id)
    async with database.snapshot() as session:
        source = facts.store.read(
            session, [series.ids[CHECKOUT.digest]], ("control", "test"), frozenset({"actor", "sequence", "value"})
        )
        [found] = await source.since(0, series.high_water_mark)
        of_series = {series.ids[CHECKOUT.digest]: found.actor.tolist()}
        [of_persons] = await source.of_persons(of_series, 0, series.high_water_mark)
        [of_events] = await source.of_events(found.sequence.tolist())
        [after] = await source.after(0, series.high_water_mark, 100)
    parts = [
        sorted(zip(*(getattr(part, name).tolist() for name in NAMES), strict=True))
        for part in (found, of_persons, of_events, after)
    ]
    assert repr(parts[0]) == repr(parts[1]) == repr(parts[2]) == repr(parts[3])  # nan is not equal to itself
    return [tuple(map(repr, row)) for row in parts[0]]


@pytest.mark.everything
@pytest.mark.parametrize("is_done_first", [False, True])
async def test_whatever_statement_fails_every_event_is_counted_once(
    service: Service, database: Database, there: ClickHouse, monkeypatch: pytest.MonkeyPatch, is_done_first: bool
) -> None:
    striking = Striking(there, monkeypatch, is_done_first=is_done_first)
    facts = FactService(database, Materializer(database, chunk=7), service.project_id)
    failures = sent = place = 0
    while True:
        await service.capture(*visits(10, "test", f"{place}"), event("buy", f"{place} 1", timestamp=AT))
        sent += 10
        try:
            with striking.at(place):
                counts = await facts.counts(METRICS)
        except ClickHouseUnavailable:
            failures += 1
            counts = await facts.counts(METRICS)
        else:
            break
        recounted = await facts.counts(METRICS, recompute=True)
        assert repr([shown(one) for one in counts]) == repr([shown(one) for one in recounted])
        assert int(counts[0].reached[:, 0].sum()) == int(counts[1].values.sum()) == sent
        place += 1
    assert failures >= 5  # each insert is read back, and counting reads several times


async def test_insert_that_ends_late_is_counted_once(
    service: Service, database: Database, there: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the insert of a client that has given up, after the next one has looked for what it left."""
    await service.capture(*visits(10))
    facts, late = FactService(database, Materializer(database), service.project_id), list[tuple[Any, ...]]()
    insert = there._insert

    async def give_up(*arguments: Any) -> None:
        late.append(arguments)
        raise ClickHouseUnavailable("no answer")

    monkeypatch.setattr(there, "_insert", give_up)
    with pytest.raises(ClickHouseUnavailable):
        await facts.counts([funnel()])

    async def insert_both(*arguments: Any) -> None:
        await insert(*late.pop())
        await insert(*arguments)

    monkeypatch.setattr(there, "_insert", insert_both)
    [_, counts] = await facts.counts(METRICS)
    [_, recounted] = await facts.counts(METRICS, recompute=True)
    assert int(counts.values.sum()) == int(recounted.values.sum()) == 10

    # Facts are read without repetition until they are stored without: the server joins equal ones in its own time.
    expected = []
    for _ in range(2):
        async with database.read() as session:
            expected.append(await FactRepository(session, service.project_id).may_repeat(utc_now()))
        monkeypatch.setattr(clickhouse_facts, "_LONGEST_INSERT", dt.timedelta(0))
        await there.execute(f"OPTIMIZE TABLE {there.table('fact')} FINAL")
        await facts.store.settle(service.project_id)
    assert (len(expected[0]), expected[1]) == (1, {})


async def test_facts_of_unused_series_leave_both(service: Service, database: Database, there: ClickHouse) -> None:
    await service.capture(*visits(3))
    materializer = Materializer(database)
    ids = (await materializer.catch_up(service.project_id, [CHECKOUT])).ids
    facts = FactService(database, materializer, service.project_id)
    assert await rows_in_both(database, there, ids[CHECKOUT.digest]) == (0, 3)

    await facts.remove_unused([], older_than=dt.timedelta(0))

    assert await rows_in_both(database, there, ids[CHECKOUT.digest]) == (0, 0)
    assert await SeriesQueries(database, service.project_id).find([CHECKOUT]) == {}


async def test_facts_move_in_and_out_while_events_arrive(
    service: Service, database: Database, there: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "_ROWS", 4)
    facts = FactService(database, Materializer(database, chunk=3), service.project_id)
    move = FactMove(database, there, service.project_id, lambda _: None)
    await service.capture(*visits(10))
    [counts] = await facts.counts([funnel()])
    assert int(counts.reached[:, 0].sum()) == 10
    for expected, step in ((21, move.from_clickhouse), (32, move.to_clickhouse), (43, move.from_clickhouse)):
        await step()
        await service.capture(*visits(11, "control", str(expected)))
        [counts] = await facts.counts([funnel()])
        [recounted] = await facts.counts([funnel()], recompute=True)
        assert shown(counts) == shown(recounted)
        assert int(counts.reached[:, 0].sum()) == expected


async def test_facts_are_moved_once_however_many_move_them(
    service: Service, database: Database, there: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run that starts meanwhile: it neither doubles the facts that the first one moves nor removes them."""
    monkeypatch.setattr(moving, "_ROWS", 2)
    monkeypatch.setattr(repository, "BULK", 2)
    await service.capture(*visits(9))
    materializer = Materializer(database)
    facts = FactService(database, materializer, service.project_id)
    [counts] = await facts.counts(METRICS[1:])
    ids = (await materializer.catch_up(service.project_id, series_of(METRICS[1].event_sets))).ids.values()
    stored = [await rows_in_both(database, there, one) for one in ids]
    moves = [FactMove(database, there, service.project_id, lambda _: None) for _ in range(3)]

    await asyncio.gather(*[move.from_clickhouse() for move in moves], return_exceptions=True)
    await moves[0].from_clickhouse()

    assert shown((await facts.counts(METRICS[1:], recompute=True))[0]) == shown(counts)
    assert sum(count for _, count in stored) >= 9
    assert [await rows_in_both(database, there, one) for one in ids] == [(count, 0) for _, count in stored]


async def test_series_in_both_are_counted_together(
    service: Service, database: Database, there: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts that were not moved yet, and those of a series that is new since."""
    monkeypatch.setattr(incremental, "FACTS_AT_ONCE", 3)
    facts = FactService(database, Materializer(database), service.project_id)
    for number in range(7):
        await service.capture(
            *[event(name, f"ann {number}", timestamp=f"2022-11-01T0{hour}:00:00Z") for hour, name in enumerate(STEPS)],
        )
    await service.capture(*visits(7, person="bob"))
    await facts.counts([funnel()])
    await FactMove(database, there, service.project_id, lambda _: None).from_clickhouse()

    [counts] = await facts.counts([funnel(steps=STEPS)])

    assert counts.reached.sum(axis=0).tolist() == [14, 7, 7]


async def test_facts_that_are_in_clickhouse_are_not_taken_for_none(service: Service, database: Database) -> None:
    """A deployment whose settings no longer name ClickHouse."""
    await service.capture(*visits(3))
    await Materializer(database).catch_up(service.project_id, [CHECKOUT])

    with without_clickhouse(database), pytest.raises(Unavailable, match="are in ClickHouse"):
        await Materializer(database).catch_up(service.project_id, [CHECKOUT])


@contextlib.contextmanager
def without_clickhouse(database: Database) -> Iterator[None]:
    there, database.clickhouse = database.clickhouse, None
    yield
    database.clickhouse = there


async def test_away_clickhouse_stops_new_counts_only(application: FastAPI, service: Service, there: ClickHouse) -> None:
    experiment = await service.create_experiment()
    results = f"/experiments/{experiment['id']}/exposures/"
    await service.capture(*exposures("control", "test"))
    before = await service.read(results)

    health: HealthMonitor = application.state.health
    assert health._clickhouse is not None
    assert (await ready(service, health))["clickhouse"] is True
    async with away(there), away(health._clickhouse):
        assert (await ready(service, health))["clickhouse"] is False
        await service.capture(event("unrelated", "zoe"))  # 200, as its answer is checked
        assert await service.read(results) == before
        await service.capture(*exposures("test"))
        refused = await service.get(results)

    assert (refused.status_code, refused.json()["code"]) == (503, "service_unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    after = await service.read(results)
    assert sum(one["total"] for one in totals(after)) == sum(one["total"] for one in totals(before)) + 1


async def test_process_that_was_not_told_of_clickhouse_is_not_ready(
    application: FastAPI, service: Service, database: Database
) -> None:
    """Beside others that keep facts there, it would answer 503 for most results."""
    settings: Settings = application.state.settings
    told, application.state.health = (
        application.state.health,
        HealthMonitor(settings.model_copy(update={"clickhouse_url": None})),
    )
    await service.capture(*visits(1))
    await Materializer(database).catch_up(service.project_id, [CHECKOUT])

    refused = await service.client.get("/_readyz")
    excluded = await service.client.get("/_readyz?exclude=clickhouse")

    assert (refused.status_code, refused.json()["clickhouse"]) == (503, False)
    assert excluded.status_code == 200
    await application.state.health.close()
    application.state.health = told


async def ready(service: Service, health: HealthMonitor) -> Any:
    health._fresh_until = 0.0
    response = await service.client.get("/_readyz")
    assert response.status_code == 200
    return response.json()


def totals(exposures: Any) -> list[dict[str, Any]]:
    return [{"total": count} for count in exposures["total_exposures"].values()]


def exposures(*variants: str) -> list[dict[str, Any]]:
    return [
        event(
            "$feature_flag_called",
            f"{variant} {number}",
            properties={"$feature_flag": "checkout", "$feature_flag_response": variant},
            timestamp=AT,
        )
        for number, variant in enumerate(variants)
    ]


@contextlib.asynccontextmanager
async def away(there: ClickHouse) -> AsyncIterator[None]:
    """Let nothing listen where ClickHouse is expected."""
    options, there._options = there._options, {**there._options, "port": 1}
    await there.close()
    yield
    there._options = options
    await there.close()


async def test_watermark_that_is_lost_is_caught_up_with(
    service: Service, database: Database, there: ClickHouse
) -> None:
    """PostgreSQL may lose the last derived commits when it loses power, and ClickHouse nothing."""
    await service.capture(*visits(10))
    facts = FactService(database, Materializer(database), service.project_id)
    await facts.counts(METRICS)
    async with database.write() as session:
        await session.execute(update(Series).where(Series.project_id == service.project_id).values(watermark=0))

    [_, recounted] = await facts.counts(METRICS, recompute=True)

    assert int(recounted.values.sum()) == 10
