"""Incremental counts equal recomputed ones after any history of events, merges, edits and clocks."""

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, get_args
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sqlalchemy import func, select, update

from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.db.models import Base, Count, Fact, Series
from app.events.appending.repository import NewEvent, NewEventRepository
from app.experiments.exposures.counting import exposure_fact_query
from app.experiments.exposures.traffic_split import Phase, TrafficSplit
from app.experiments.scorecard.metrics import sample_fact_query
from app.metrics.aggregation.active_users import Days
from app.metrics.aggregation.exposures import ExposureCounts
from app.metrics.aggregation.funnel import FunnelCounts
from app.metrics.aggregation.funnel_by_day import FunnelProgress
from app.metrics.aggregation.samples import SampleMath
from app.metrics.aggregation.trend import TrendCounts
from app.metrics.aggregation.value_sums import ValueCounts
from app.metrics.counting import deltas
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.facts import repository
from app.metrics.facts.columns import FactColumns
from app.metrics.facts.event_sets import group_property
from app.metrics.facts.materializer import Materializer
from app.metrics.facts.repository import FactRepository
from app.metrics.facts.stored_series import SeriesGone
from app.metrics.queries.funnel import funnel_fact_query
from app.metrics.queries.models import ExposureQuery
from app.metrics.queries.parsing import read_funnel, read_trend
from app.metrics.queries.scope import ExperimentScope, buckets
from app.metrics.queries.trend import exposure_2022_fact_query, trend_fact_query
from app.people.persons.identity import IdentityChanges, PersonState
from app.people.persons.merge_log import MergeLog
from app.people.persons.repository import PersonRepository
from tests.conftest import new_service
from tests.support.examples import examples
from tests.support.service import Service, event

pytestmark = [pytest.mark.own_database, pytest.mark.clickhouse]

START = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
PERSONS = range(1, 7)

happened = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["visit", "cart", "buy", "$feature_flag_called"]),
        "person": st.sampled_from(PERSONS),
        "hour": st.integers(-1, 60),  # also before the start, and in the future of the counting process
        "variant": st.sampled_from(["control", "test", "junk", None]),
        "company": st.sampled_from(["acme", "tiny", None]),
    }
)
merged = st.tuples(st.sampled_from(PERSONS), st.sampled_from(PERSONS))
hours_that_pass = st.integers(-2, 15)  # clocks are set back, too


@dataclass(frozen=True)
class Edit:
    """What a user may change while an experiment runs."""

    steps: Sequence[str] = ("visit", "cart", "buy")
    window_hours: int = 336
    variants: Sequence[str] = ("control", "test")
    start_hour: int = 0
    end_hour: int | None = None


edited = st.builds(
    Edit,
    st.sampled_from([("visit", "cart", "buy"), ("visit", "buy"), ("visit", "visit"), ("cart",)]),
    st.sampled_from([1, 8, 336]),
    st.sampled_from([("control", "test"), ("control", "test", "junk")]),
    st.integers(0, 5),
    st.none() | st.integers(5, 40),
)
sent_again = st.just("sent again")  # all events, as by a client that did not receive the response
history = st.lists(st.one_of(st.lists(happened, max_size=6), merged, hours_that_pass, edited, sent_again), max_size=12)


def fact_queries(hours: int, edit: Edit = Edit()) -> Sequence[FactQuery[Any]]:  # frozen
    """Return metrics of an experiment that has been running for some hours."""
    start = START + edit.start_hour * HOUR
    end = None if edit.end_hour is None else START + edit.end_hour * HOUR
    scope = ExperimentScope("checkout", edit.variants, start, end, START + hours * HOUR, ZoneInfo("UTC"))
    funnel = read_funnel(
        {
            "events": [{"id": name, "order": order} for order, name in enumerate(edit.steps)],
            "funnel_window_interval": edit.window_hours,
            "funnel_window_interval_unit": "hour",
        }
    )
    trends = [
        read_trend({"events": [{"id": "visit", "math": math, "math_property": "amount"}], "interval": "hour"})
        for math in ("total", "dau", "sum", "max_count_per_actor")
    ]
    return [
        funnel_fact_query(funnel, scope),
        exposure_2022_fact_query(scope),
        *(trend_fact_query(trend, buckets(scope, trend.interval), scope) for trend in trends if trend),
    ]


def group_fact_queries(hours: int, edit: Edit) -> Sequence[FactQuery[Any]]:
    """Return metrics of an experiment whose units are companies, and the exposures of one of persons."""
    start = START + edit.start_hour * HOUR
    of_persons = ExperimentScope("checkout", ("control", "test"), start, None, START + hours * HOUR, ZoneInfo("UTC"))
    scope = replace(of_persons, group_type_index=0)
    funnel = read_funnel({"events": [{"id": name, "order": order} for order, name in enumerate(edit.steps)]})
    trend = read_trend({"events": [{"id": "visit", "math": "dau"}], "interval": "hour"})
    assert trend is not None
    exposed = ExposureQuery([scope.exposures()], "", "", filters_test_accounts=False)
    split = TrafficSplit([Phase(None, {})], ["junk"])
    return [
        funnel_fact_query(funnel, scope),
        exposure_2022_fact_query(scope),
        trend_fact_query(trend, buckets(scope, "hour"), scope),
        *(sample_fact_query(trend, math, exposed, scope, buckets(scope, "day")) for math in get_args(SampleMath)),
        *(
            exposure_fact_query(
                ExposureQuery([one.exposures()], "", "", filters_test_accounts=False),
                buckets(one, "day"),
                split,
                one,
            )
            for one in (scope, of_persons)
        ),
    ]


@pytest.mark.one_database("postgresql")  # which stores facts in two ways
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=history, most_new=st.sampled_from([2, 5, 20_000]), in_bulk=st.booleans())
@example(  # counted before its start, when what happens until then is still to come
    history=[
        Edit(start_hour=3),
        [{"name": "visit", "person": 1, "hour": hour, "variant": None, "company": None} for hour in (2, 56)],
        4,
    ],
    most_new=5,
    in_bulk=False,
)
async def test_incremental_counts_equal_recomputed_counts(
    client: httpx.AsyncClient,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    history: list[Any],
    most_new: int,
    *,
    in_bulk: bool,
) -> None:
    monkeypatch.setattr(deltas, "MAX_DELTA", most_new)
    monkeypatch.setattr(repository, "BULK", 3 if in_bulk else 20_000)
    await live_through(history, fact_queries, (await new_service(client, database)).project_id, database)


@pytest.mark.one_database
@settings(max_examples=examples(5), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=history)
async def test_incremental_counts_of_groups_equal_recomputed_counts(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch, history: list[Any]
) -> None:
    monkeypatch.setattr(deltas, "MAX_DELTA", 5)
    await live_through(history, group_fact_queries, (await new_service(client, database)).project_id, database)


async def live_through(
    history: list[Any],
    queries: Callable[[int, Edit], Sequence[FactQuery[Any]]],
    project_id: int,
    database: Database,
    materializer: Materializer | None = None,
) -> None:
    """Count after every step of a history, by adding what is new and from all facts, in two processes."""
    elsewhere = FactService(database, Materializer(database, chunk=5), project_id)
    facts = elsewhere if materializer is None else FactService(database, materializer, project_id)
    persons = await create_persons(database, project_id)
    hours, edit, sent = 1, Edit(), list[NewEvent]()
    metrics, added = queries(hours, edit), list[Any]()
    for step in [*history, 0]:
        if isinstance(step, int):
            hours += step
        elif isinstance(step, tuple):
            await merge(database, project_id, persons, *step)
        elif isinstance(step, Edit):
            edit = step
        else:
            sent += [] if step == "sent again" else stored_under(persons, step)
            await append(database, project_id, sent)
        metrics = queries(hours, edit)
        assert all(metric.is_kept for metric in metrics)
        added = [compared(*pair) for pair in zip(metrics, await facts.counts(metrics), strict=True)]
        assert added == await recounted(elsewhere, metrics)
    await facts.catch_up(metrics)  # stores what is in memory
    assert added == await recounted(elsewhere, metrics)


async def recounted(facts: FactService, metrics: Sequence[FactQuery[Any]]) -> list[Any]:
    counts = await facts.counts(metrics, recompute=True)
    return [compared(*pair) for pair in zip(metrics, counts, strict=True)]


def compared(metric: FactQuery[Any], counts: Any) -> Any:
    return shown(counts) if metric.read_off is None else written(counts)


def written(value: Any) -> Any:
    """Return a figure, or what holds figures, to compare: also what is not a number."""
    if isinstance(value, list):
        return [written(one) for one in value]
    return [written(one) for one in vars(value).values()] if is_dataclass(value) else str(np.asarray(value).tolist())


@pytest.mark.one_database
async def test_count_that_is_no_sum_is_kept_until_something_changes(service: Service, database: Database) -> None:
    facts = FactService(database, Materializer(database), service.project_id)
    persons = await create_persons(database, service.project_id)
    counted: list[int] = []

    def averages(hours: int) -> FactQuery[Any]:
        [metric] = [one for one in fact_queries(hours) if "max_count_per_actor" in one.parameters]

        def count(columns: Sequence[FactColumns]) -> Any:
            counted.append(hours)
            return metric.count(columns)

        return replace(metric, count=count)

    async def look(hours: int) -> float:
        metric = averages(hours)
        return float((await facts.count(metric, await facts.catch_up([metric]))).values.max())

    def visit(person: int, hour: int) -> NewEvent:
        return stored({"name": "visit", "person": person, "hour": hour, "variant": "test"}, persons[person].id)

    await append(database, service.project_id, [visit(1, 0), visit(2, 0), visit(2, 0), visit(1, 9), visit(1, 9)])
    looks = [await look(1), await look(1), await look(5)]
    await append(database, service.project_id, [stored({"name": "buy", "person": 1, "hour": 0, "variant": "test"}, 1)])
    looks += [await look(5)]
    assert (looks, counted) == ([2, 2, 2, 2], [1])

    await merge(database, service.project_id, persons, 1, 2)
    looks += [await look(5), await look(6)]
    await append(database, service.project_id, [visit(3, 4) for _ in range(4)])
    looks += [await look(7), await look(8), await look(9)]  # the visits of the ninth hour are due then
    await append(database, service.project_id, [visit(3, 12) for _ in range(5)])
    looks += [await look(10), await look(11), await look(13), await look(14)]
    assert (looks[4:], counted[1:]) == ([3, 3, 4, 4, 4, 4, 4, 5, 5], [5, 7, 9, 10, 13])


def test_weekly_active_persons_are_kept_for_the_same_days_only() -> None:
    scope = ExperimentScope("checkout", ("control", "test"), START, None, START + 48 * HOUR, ZoneInfo("UTC"))
    trend = read_trend({"events": [{"id": "visit", "math": "weekly_active"}]})
    assert trend is not None

    def digest(busy: str) -> str:
        days = Days(buckets(scope, "day"), np.array([day == "x" for day in busy]))
        return trend_fact_query(trend, buckets(scope, "day"), scope, days).digest

    assert digest("x--") == digest("x--")
    assert len({digest("x--"), digest("xx-"), digest("x-")}) == 3


async def create_persons(database: Database, project_id: int) -> dict[int, PersonState]:
    states = {number: PersonState(None, uuid4(), {}, is_identified=False, created_at=START) for number in PERSONS}
    async with database.write() as session:
        await PersonRepository(session, project_id).store(IdentityChanges(created=list(states.values())), [])
    return states


async def merge(database: Database, project_id: int, persons: dict[int, PersonState], old: int, new: int) -> None:
    """Merge one person into another; later events of both belong to the survivor."""
    previous, target = persons[old].survivor(), persons[new].survivor()
    if previous is not target:
        previous.merged_into = target
        async with database.write() as session:
            await PersonRepository(session, project_id).store(IdentityChanges(merged=[previous]), [])


def stored_under(persons: dict[int, PersonState], events: Sequence[dict[str, Any]]) -> list[NewEvent]:
    """Return events, the even ones under the person before a merge that their writer did not see."""
    return [
        stored(event, (persons[event["person"]] if number % 2 else persons[event["person"]].survivor()).id)
        for number, event in enumerate(events)
    ]


async def append(database: Database, project_id: int, events: Sequence[NewEvent]) -> None:
    async with database.write() as session:
        await NewEventRepository(session, project_id).append(events)


def stored(event: dict[str, Any], person_id: int | None) -> NewEvent:
    assert person_id is not None
    properties: dict[str, Any] = {"amount": event["hour"] / 10, "device": event["hour"] % 4}
    if event["name"] == "$feature_flag_called":
        properties |= {"$feature_flag": "checkout", "$feature_flag_response": str(event["variant"])}
    elif event["variant"]:
        properties |= {"$feature/checkout": event["variant"]}
    if event.get("company"):
        properties |= {group_property(0): event["company"], "$session_id": event["company"]}
    time = to_microseconds(START + event["hour"] * HOUR)
    return NewEvent(uuid4(), event["name"], str(event["person"]), person_id, time, time, json.dumps(properties))


def shown(counts: FunnelCounts | TrendCounts | ExposureCounts | FunnelProgress | ValueCounts) -> Any:
    if isinstance(counts, ExposureCounts | FunnelProgress | ValueCounts):
        return written(counts)
    if isinstance(counts, TrendCounts):
        return counts.values.tolist(), counts.events.tolist()
    times = (counts.average_conversion_time, counts.median_conversion_time)
    return counts.reached.tolist(), *(str(part.tolist()) for part in times)


async def test_concurrent_writers_and_readers_count_every_event_once(service: Service, database: Database) -> None:
    """Transactions commit in another order than that of their sequence numbers, while counts are stored."""
    facts = FactService(database, Materializer(database, chunk=5), service.project_id)
    elsewhere = FactService(database, Materializer(database, chunk=5), service.project_id)  # as in another process
    metrics = fact_queries(48)
    moment = (START + HOUR).isoformat()

    async def write(writer: int) -> None:
        for number in range(8):
            await service.capture(
                *(event("visit", f"{writer} {number} {part}", moment, variant="test") for part in range(3)),
                event("$identify", f"{writer} 0 0", moment, properties={"$anon_distinct_id": f"{writer} {number} 1"}),
            )

    async def read(of: FactService) -> None:
        for _ in range(8):
            series = await of.catch_up(metrics)
            for metric in metrics:
                await of.count(metric, series)

    await asyncio.gather(*(write(writer) for writer in range(4)), read(facts), read(elsewhere))
    series = await facts.catch_up(metrics)
    added = [shown(await facts.count(metric, series)) for metric in metrics]

    assert added == [shown(await facts.count(metric, series, recompute=True)) for metric in metrics]
    total, persons = [await facts.count(metric, series) for metric in metrics[2:4]]
    assert (total.count.tolist(), persons.count.tolist()) == ([0, 4 * 8 * 3], [0, 4 * (8 * 3 - 8)])


async def test_many_merges_are_not_looked_up_person_by_person(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an import of persons: where recomputing is faster, what is new is not gathered before."""
    asked: list[int] = []
    merges_of = PersonRepository.merges_of

    async def noted(persons: PersonRepository, ids: NDArray[np.int64]) -> MergeLog:
        asked.append(len(ids))
        return await merges_of(persons, ids)

    monkeypatch.setattr(PersonRepository, "merges_of", noted)
    monkeypatch.setattr(deltas, "MAX_DELTA", 10)
    moment = (START + HOUR).isoformat()
    metrics = fact_queries(48)
    facts = FactService(database, Materializer(database), service.project_id)
    await service.capture(*(event("visit", f"person {one}", moment, variant="test") for one in range(24)))
    await facts.counts(metrics)
    for merges in (range(1), range(1, 12)):
        await service.capture(
            *(
                event("$identify", f"person {one}", moment, properties={"$anon_distinct_id": f"person {one + 12}"})
                for one in merges
            )
        )

        added = [shown(counts) for counts in await facts.counts(metrics)]

        assert added == [shown(counts) for counts in await facts.counts(metrics, recompute=True)]
    assert asked
    assert max(asked) < 10


async def test_unreadable_stored_count_is_recomputed(service: Service, database: Database) -> None:
    await service.capture(event("visit", "ann", (START + HOUR).isoformat(), variant="test"))
    facts = FactService(database, Materializer(database), service.project_id)
    metrics = fact_queries(48)
    before = [shown(counts) for counts in await facts.counts(metrics)]

    for body in (b"", b"\x93\x01", b"what another version wrote"):
        async with database.write() as session:
            await session.execute(update(Count).values(body=body))

        assert [shown(counts) for counts in await facts.counts(metrics)] == before


async def test_unused_series_is_removed_and_created_again_on_demand(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.metrics.counting.service.CHUNK", 2)
    moment = (START + HOUR).isoformat()
    await service.capture(*(event("visit", str(number), moment, variant="test") for number in range(5)))
    facts = FactService(database, Materializer(database), service.project_id)
    _, exposure, total, *_ = fact_queries(48)
    series = await facts.catch_up([exposure, total])
    before = [shown(await facts.count(metric, series)) for metric in (exposure, total)]

    await facts.remove_unused([exposure], older_than=dt.timedelta(0))

    assert await rows(database, Fact) == 0
    assert await rows(database, Series) == await rows(database, Count) == 1
    for recompute in (False, True):
        with pytest.raises(SeriesGone):
            await facts.count(total, series, recompute=recompute)
    series = await facts.catch_up([exposure, total])
    assert [shown(await facts.count(metric, series)) for metric in (exposure, total)] == before


@pytest.mark.one_database
async def test_removed_series_is_not_appended_to(service: Service, database: Database) -> None:
    """Not even when another series has its id by then."""
    await service.capture(event("visit", "ann", variant="test"))
    facts = FactService(database, Materializer(database), service.project_id)
    series = await facts.catch_up([fact_queries(48)[2]])
    numbers = dict.fromkeys(series.ids.values(), "another")

    async with database.write() as session:
        with pytest.raises(SeriesGone):
            await FactRepository(session, service.project_id).lock(numbers)


async def rows(database: Database, model: type[Base]) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(model)) or 0
