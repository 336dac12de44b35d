"""Trends and funnels without an experiment, in the shapes of 2022."""

import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from app.common import limits
from app.common.errors import ValidationFailed
from app.db.database import Database
from app.db.models import Series
from app.insights.dates import read_end, read_start
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.people.persons.repository import PersonRepository
from tests.support.service import Json, Service, event

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]

NOVEMBER: Json = {"date_from": "2022-11-01", "date_to": "2022-11-03"}
VISITS: Json = {"id": "visit", "type": "events", "order": 0}
PURCHASES: Json = {"id": "purchase", "type": "events", "order": 1}


def at(day: int, hour: int = 10) -> str:
    return f"2022-11-0{day}T{hour:02}:00:00Z"


async def send(service: Service) -> None:
    """Ann visits on two days and buys, Bob visits twice on one day, and Cid buys only; one visit is too late."""
    await service.capture(
        event("visit", "ann", at(1), properties={"page": "/a", "seconds": 1, "$set": {"plan": "pro"}}),
        event("visit", "ann", at(3), properties={"page": "/b", "seconds": 4}),
        event("visit", "bob", at(1), properties={"page": "/a", "seconds": 6, "$set": {"plan": "free"}}),
        event("visit", "bob", at(1, 11), properties={"page": "/a", "seconds": 8}),
        event("visit", "cid", at(2)),
        event("visit", "cid", at(4)),
        event("purchase", "ann", at(1, 12), properties={"page": "/buy"}),
        event("purchase", "cid", at(1), properties={"page": "/buy"}),
    )


async def trend(service: Service, *series: Json, **asked: Any) -> Json:
    answer = await service.post("/insights/trend/", {"events": list(series), **NOVEMBER, **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def funnel(service: Service, *steps: Json, **asked: Any) -> Json:
    answer = await service.post("/insights/funnel/", {"events": list(steps), **NOVEMBER, **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


def data(answer: Json) -> dict[str, list[float]]:
    return {one["label"]: one["data"] for one in answer["result"]}


async def test_trend_has_the_shape_of_2022(service: Service) -> None:
    await send(service)

    answer = await trend(service, VISITS)

    [series] = answer["result"]
    assert answer.keys() == {"result", "timezone", "last_refresh", "is_cached", "next"}
    assert (answer["timezone"], answer["is_cached"], answer["next"]) == ("UTC", False, None)
    assert series == {
        "action": {
            "id": "visit",
            "type": "events",
            "order": 0,
            "name": "visit",
            "custom_name": None,
            "math": None,
            "math_property": None,
            "math_group_type_index": None,
            "properties": {},
        },
        "label": "visit",
        "count": 5.0,
        "data": [3.0, 1.0, 1.0],
        "labels": ["1-Nov-2022", "2-Nov-2022", "3-Nov-2022"],
        "days": ["2022-11-01", "2022-11-02", "2022-11-03"],
        "persons_urls": [],
        "filter": {
            "display": "ActionsLineGraph",
            "date_from": "2022-11-01T00:00:00+00:00",
            "date_to": "2022-11-03T23:59:59+00:00",
            "events": [series["action"]],
            "insight": "TRENDS",
            "interval": "day",
        },
    }


async def test_trend_counts_several_series_by_their_mathematics(service: Service) -> None:
    await send(service)
    series = [
        {**VISITS, "name": "all"},
        {**VISITS, "name": "persons", "math": "dau", "order": 1},
        {**VISITS, "name": "average", "math": "avg", "math_property": "seconds", "order": 2},
        {**VISITS, "name": "home", "properties": [{"key": "page", "value": "/a"}], "order": 3},
        {**PURCHASES, "order": 4},
    ]

    by_day, running = await trend(service, *series), await trend(service, *series, display="ActionsLineGraphCumulative")

    assert data(by_day) == {
        "all": [3, 1, 1],
        "persons": [2, 1, 1],
        "average": [5, 0, 4],
        "home": [3, 0, 0],
        "purchase": [2, 0, 0],
    }
    assert data(running) == {
        "all": [3, 4, 5],
        "persons": [2, 3, 3],
        "average": [5, 5, 9],
        "home": [3, 3, 3],
        "purchase": [2, 2, 2],
    }
    assert [one["count"] for one in by_day["result"]] == [5, 4, 9, 3, 2]
    assert [one["count"] for one in running["result"]] == [5, 3, 9, 3, 2]


async def test_trend_is_broken_down_by_a_property_of_events_or_persons(service: Service) -> None:
    await send(service)

    by_page = await trend(service, VISITS, breakdown="page")
    by_plan = await trend(service, {**VISITS, "math": "dau"}, breakdown="plan", breakdown_type="person")
    most_frequent = await trend(service, VISITS, breakdown="page", breakdown_limit=1)

    assert data(by_page) == {"visit - /a": [3, 0, 0], "visit - /b": [0, 0, 1], "visit - none": [0, 1, 0]}
    assert [one["breakdown_value"] for one in by_page["result"]] == ["/a", "/b", ""]
    assert data(by_plan) == {"visit - pro": [1, 0, 1], "visit - free": [1, 0, 0], "visit - none": [0, 1, 0]}
    assert data(most_frequent) == {"visit - /a": [3, 0, 0]}


async def test_get_answers_what_post_does(service: Service) -> None:
    await send(service)
    asked = {"breakdown": "page", "interval": "hour", "properties": [{"key": "page", "operator": "is_set"}]}

    posted = await trend(service, VISITS, PURCHASES, **asked)
    read = await service.read(
        "/insights/trend/",
        events=json.dumps([VISITS, PURCHASES]),
        **NOVEMBER,
        **{**asked, "properties": json.dumps(asked["properties"])},
    )

    assert read["result"] == posted["result"]
    assert len(read["result"][0]["data"]) == 72
    assert [one["label"] for one in read["result"]] == ["visit - /a", "visit - /b", "purchase - /buy"]


@pytest.mark.each_database
async def test_actions_and_test_accounts_count_as_in_metrics(service: Service) -> None:
    await send(service)
    step = {"event": "visit", "properties": [{"key": "page", "value": ["/b"], "operator": "exact"}]}
    action = (await service.post("/actions/", {"name": "Second page", "steps": [step]})).json()
    account = {"key": "plan", "value": "free", "operator": "is_not", "type": "person"}
    await service.client.patch(
        f"{service.project}/",
        json={"test_account_filters": [account]},
        headers={"Authorization": f"Bearer {service.key}"},
    )

    answer = await trend(service, VISITS, actions=[{"id": action["id"], "order": 1}], filter_test_accounts=True)

    assert data(answer) == {"visit": [1, 1, 1], "Second page": [0, 0, 1]}


async def test_funnel_has_the_shape_of_2022(service: Service) -> None:
    await send(service)

    answer = await funnel(service, VISITS, PURCHASES)

    assert answer.keys() == {"result", "timezone", "last_refresh", "is_cached"}
    assert [step["count"] for step in answer["result"]] == [3, 1]
    assert answer["result"][1] == {
        "action_id": "purchase",
        "name": "purchase",
        "custom_name": None,
        "order": 1,
        "people": [],
        "count": 1,
        "type": "events",
        "average_conversion_time": 7200.0,
        "median_conversion_time": 7200.0,
        "converted_people_url": None,
        "dropped_people_url": None,
    }


async def test_funnel_is_broken_down_by_what_its_persons_named_first(service: Service) -> None:
    await send(service)

    async def reached(**asked: Any) -> list[tuple[Any, list[int]]]:
        found = (await funnel(service, VISITS, PURCHASES, **asked))["result"]
        return [(steps[0]["breakdown_value"], [step["count"] for step in steps]) for steps in found]

    assert await reached(breakdown="page") == [("/a", [2, 1]), ("/buy", [1, 0])]
    assert await reached(breakdown=["page"], breakdown_limit=1) == [(["/a"], [2, 1]), (["Other"], [1, 0])]
    assert await reached(breakdown="page", breakdown_attribution_type="step", breakdown_attribution_value=0) == [
        *(("/a", [2, 1]), ("/b", [1, 1]), ("", [1, 0])),
    ]
    assert await reached(breakdown="plan", breakdown_type="person") == [("pro", [1, 1]), ("free", [1, 0]), ("", [1, 0])]


async def test_funnel_of_a_missing_property_is_one_of_persons_without_it(service: Service) -> None:
    await send(service)

    [steps] = (await funnel(service, VISITS, PURCHASES, breakdown="colour"))["result"]

    assert [(step["breakdown_value"], step["count"], step["average_conversion_time"]) for step in steps] == [
        ("", 3, None),
        ("", 1, None),
    ]


REFUSED: list[tuple[Json, str | None]] = [
    ({"formula": "A/B"}, "formula"),
    ({"compare": "true"}, "compare"),
    ({"shown_as": "Stickiness"}, "shown_as"),
    ({"display": "ActionsPie"}, "display"),
    ({"insight": "FUNNELS"}, "insight"),
    ({"insight": "PATHS"}, "insight"),
    ({"breakdown": ["a", "b"]}, "breakdown"),
    ({"breakdown": 7}, "breakdown"),
    ({"breakdown": "a", "breakdown_type": "cohort"}, "breakdown_type"),
    ({"breakdown": "a", "breakdown_limit": 51}, "breakdown_limit"),
    (
        {"breakdown": "a", "breakdown_type": "person", "events": [{**VISITS, "math": "unique_session"}]},
        "breakdown_type",
    ),
    ({"date_from": "yesterday"}, "date_from"),
    ({"date_to": "2022-10-31"}, "date_from"),
    ({"date_from": 7}, "date_from"),
    ({"date_from": "0001-01-01"}, "date_from"),
    ({"date_from": "-2025yStart"}, "date_from"),
    ({"date_to": "9999-12-31"}, "date_to"),
    ({"properties": [{"key": "a", "operator": "like", "value": 1}]}, "properties"),
    ({"properties": "{"}, "properties"),
    ({"events": "{"}, None),
    ({"events": [{**VISITS, "math": "harmonic"}]}, None),
    ({"interval": "fortnight"}, None),
]


async def test_what_is_not_understood_is_refused(service: Service) -> None:
    for asked, attr in REFUSED:
        answer = await service.post("/insights/trend/", {"events": [VISITS], **NOVEMBER, **asked})
        assert (answer.status_code, answer.json()["attr"]) == (400, attr), (asked, answer.text)


async def test_insight_has_a_limited_number_of_points(service: Service) -> None:
    most = limits.INSIGHT_POINTS.value
    hours = most // 10
    asked = {"interval": "hour", "date_from": "2022-01-01", "breakdown": "page", "breakdown_limit": 10}
    end = dt.datetime(2022, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=hours - 1)

    taken = await service.post("/insights/trend/", {"events": [VISITS], **asked, "date_to": end.isoformat()})
    later = (end + dt.timedelta(hours=1)).isoformat()
    refused = await service.post("/insights/trend/", {"events": [VISITS], **asked, "date_to": later})

    assert taken.status_code == 200, taken.text
    assert (refused.status_code, refused.json()["code"]) == (400, "too_many_points")
    assert refused.json()["detail"] == limits.INSIGHT_POINTS.detail


@pytest.mark.each_database
async def test_all_events_begin_with_the_first_one(service: Service) -> None:
    await send(service)

    [series] = (await trend(service, PURCHASES, date_from="all"))["result"]

    assert (series["days"][0], series["data"]) == ("2022-11-01", [2, 0, 0])
    empty = await service.post("/insights/trend/", {"events": []})
    assert (empty.status_code, empty.json()["result"]) == (200, [])
    assert (await service.post("/insights/funnel/", {"events": []})).json()["attr"] == "events"


@pytest.mark.each_database
async def test_facts_of_an_insight_are_removed_a_day_later(service: Service, database: Database) -> None:
    await send(service)
    await trend(service, VISITS)
    facts = FactService(database, Materializer(database), service.project_id)

    async def series() -> int:
        async with database.read() as session:
            return len((await session.scalars(select(Series).where(Series.project_id == service.project_id))).all())

    await facts.remove_unused([])
    assert await series() == 1
    async with database.write() as session:
        asked = dt.datetime.now(dt.UTC) - dt.timedelta(hours=limits.INSIGHT_HOURS.value, minutes=1)
        await session.execute(update(Series).where(Series.project_id == service.project_id).values(asked_at=asked))
    await facts.remove_unused([])
    assert await series() == 0


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("-7d", "2022-11-08T00:00", "2022-11-08T23:59:59.999999"),
        ("-0d", "2022-11-15T00:00", "2022-11-15T23:59:59.999999"),
        ("-36h", "2022-11-14T03:30", "2022-11-14T03:30"),
        ("dStart", "2022-11-15T00:00", "2022-11-15T00:00"),
        ("-1dEnd", "2022-11-14T23:59:59.999999", "2022-11-14T23:59:59.999999"),
        ("wStart", "2022-11-13T00:00", "2022-11-13T00:00"),
        ("mStart", "2022-11-01T00:00", "2022-11-01T00:00"),
        ("-1mEnd", "2022-10-31T23:59:59.999999", "2022-10-31T23:59:59.999999"),
        ("yStart", "2022-01-01T00:00", "2022-01-01T00:00"),
        ("-1yEnd", "2021-12-31T23:59:59.999999", "2021-12-31T23:59:59.999999"),
        ("2022-11-05", "2022-11-05T00:00", "2022-11-05T23:59:59.999999"),
        ("2022-11-05T10:30:00", "2022-11-05T10:30", "2022-11-05T10:30"),
        ("2022-11-05T10:30:00Z", "2022-11-05T11:30", "2022-11-05T11:30"),
    ],
)
def test_dates_are_read_by_the_clock_of_the_project(text: str, start: str, end: str) -> None:
    amsterdam = ZoneInfo("Europe/Amsterdam")
    now = dt.datetime(2022, 11, 15, 15, 30, tzinfo=amsterdam)

    assert read_start(text, now, amsterdam) == dt.datetime.fromisoformat(start).replace(tzinfo=amsterdam)
    assert read_end(text, now, amsterdam) == dt.datetime.fromisoformat(end).replace(tzinfo=amsterdam)


@pytest.mark.parametrize("text", ["", "d", "7", "-7q", "Start", "-99999d", "0001-01-01", "9999-12-31", "2022-13-01"])
def test_other_texts_are_no_dates(text: str) -> None:
    east, now = ZoneInfo("Pacific/Auckland"), dt.datetime(2022, 11, 15, tzinfo=dt.UTC)
    with pytest.raises(ValidationFailed):
        read_start(text, now, east) if text != "9999-12-31" else read_end(text, now, ZoneInfo("America/New_York"))


async def test_persons_are_read_in_a_slot_that_projects_share(
    service: Service, application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = PersonRepository.properties

    def counted(repository: PersonRepository) -> AsyncIterator[tuple[int, str]]:
        nonlocal reads
        reads += 1
        return read(repository)

    monkeypatch.setattr(PersonRepository, "properties", counted)
    state = application.state
    monkeypatch.setattr(state, "settings", state.settings.model_copy(update={"results_timeout": 0.05}))
    asked = {"events": [VISITS], **NOVEMBER, "breakdown": "plan", "breakdown_type": "person"}
    async with contextlib.AsyncExitStack() as held:
        for _ in range(state.database.aggregation_slots.free - 1):  # all that one project may have
            await held.enter_async_context(state.database.aggregation_slots.slot(service.project_id))
        waited = await service.post("/insights/trend/", asked)

    assert (waited.status_code, reads) == (503, 0)
