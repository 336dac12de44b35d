"""The names of events and of properties, as they arrive."""

import asyncio
import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from app.common import limits
from app.db.database import Database
from app.db.models import EventDefinition, Project
from app.events.definitions import service as definitions
from app.events.definitions.service import DefinitionService
from app.events.repository import EventRepository
from app.metrics.facts.materializer import Materializer
from app.operations.maintenance.scheduler import MaintenanceScheduler
from app.operations.maintenance.wiring import build_maintenance
from tests.support.service import Json, Service, event


def ago(**time: float) -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(**time)).isoformat()


async def events(service: Service, **parameters: object) -> Mapping[str, Json]:
    listed = (await service.read("/event_definitions/", **parameters))["results"]
    return {one["name"]: one for one in listed}


async def properties(service: Service, **parameters: object) -> list[str]:
    return [one["name"] for one in (await service.read("/property_definitions/", **parameters))["results"]]


async def test_names_of_events_come_with_their_volume_and_the_last_one(service: Service) -> None:
    last = ago(days=1)
    await service.capture(
        event("purchase", "ann", ago(days=29)),
        event("purchase", "ann", last),
        event("purchase", "ann", ago(days=32)),
        event("visit", "ann", "2022-11-02T10:00:00Z"),
        event("visit", "ann", ago(days=-40)),
    )

    found = await events(service)

    assert list(found) == ["purchase", "visit"]
    purchase = found["purchase"]
    assert purchase["volume_30_day"] == 2
    assert dt.datetime.fromisoformat(purchase["last_seen_at"]) == dt.datetime.fromisoformat(last)
    assert found["visit"]["volume_30_day"] == 0
    assert dt.datetime.fromisoformat(found["visit"]["last_seen_at"]) <= dt.datetime.now(dt.UTC)
    assert purchase.keys() - {"id", "name", "volume_30_day", "last_seen_at", "created_at", "last_updated_at"} == {
        *("query_usage_30_day", "tags", "is_action", "action_id", "is_calculating", "last_calculated_at"),
        *("created_by", "post_to_slack"),
    }
    assert await service.read(f"/event_definitions/{purchase['id']}/") == purchase


@pytest.mark.one_database
async def test_later_events_add_to_the_names(service: Service) -> None:
    last = ago(days=2)
    await service.capture(event("visit", "ann", last))
    before = await events(service)

    await service.capture(event("visit", "bob", last), event("visit", "ann", ago(days=3)), event("buy", "ann"))
    after = await events(service)

    assert after["visit"] == {**before["visit"], "volume_30_day": 3}
    assert after.keys() == {"visit", "buy"}


async def test_names_of_events_are_searched_ordered_and_paged(service: Service) -> None:
    names = ["Checkout done", "checkout begun", "$pageview", "100% sure"]
    await service.capture(*(event(name, "ann", ago(hours=1)) for name in [*names, "$pageview"]))

    assert list(await events(service)) == ["$pageview", "100% sure", "Checkout done", "checkout begun"]
    assert (await events(service, search="CHECK out")).keys() == {"Checkout done", "checkout begun"}
    assert (await events(service, search="0% s")).keys() == {"100% sure"}
    assert (await events(service, event_type="event_posthog")).keys() == {"$pageview"}
    assert list(await events(service, event_type="event_custom", ordering="-name"))[-1] == "100% sure"
    page = await service.read("/event_definitions/", ordering="name", limit=3, offset=1)
    assert (page["count"], len(page["results"]), page["next"]) == (4, 3, None)
    assert page["previous"].endswith("?limit=3&ordering=name")


async def test_names_of_properties_say_what_they_hold(service: Service) -> None:
    await service.capture(
        event(
            "purchase",
            "ann",
            properties={
                "amount": 12.5,
                "paid": True,
                "plan": "pro",
                "due": "2022-11-05T10:00:00Z",
                "birthday": "1999-12-31",
                "items": [1],
                "later": None,
                "$feature/checkout": "test",
                "$set": {"email": "a@b.c"},
                "$set_once": {"age": 30},
                "$groups": {"company": "acme"},
            },
        ),
        event("purchase", "ann", properties={"later": 3, "amount": "none"}),
        event(
            "$groupidentify",
            "ann",
            properties={"$group_type": "company", "$group_key": "acme", "$group_set": {"seats": 5}},
        ),
    )

    listed = (await service.read("/property_definitions/"))["results"]
    person = (await service.read("/property_definitions/", type="person"))["results"]

    assert {one["name"]: one["property_type"] for one in listed} == {
        "amount": "Numeric",
        "paid": "Boolean",
        "plan": "String",
        "due": "DateTime",
        "birthday": "DateTime",
        "items": None,
        "later": "Numeric",
        "$feature/checkout": "String",
        "$ip": "String",
    }
    assert {one["name"]: one["is_numerical"] for one in person} == {"email": False, "age": True}
    assert await properties(service, type="group", group_type_index=0) == ["seats"]
    assert await service.read(f"/property_definitions/{person[0]['id']}/") == person[0]


async def test_properties_are_those_of_some_events_or_of_all(service: Service) -> None:
    await service.capture(
        event("purchase", "ann", properties={"amount": 1, "note": "a"}), event("visit", "ann", properties={"page": "/"})
    )
    asked = {"event_names": '["purchase"]'}

    listed = (await service.read("/property_definitions/", **asked))["results"]

    assert [(one["name"], one["is_seen_on_filtered_events"]) for one in listed] == [
        *(("$ip", True), ("amount", True), ("note", True)),
        ("page", False),
    ]
    assert await properties(service, **asked, filter_by_event_names="true", search="A") == ["amount"]
    assert await properties(service, is_numerical="true") == ["amount"]
    assert await properties(service, properties="page,note,none") == ["note", "page"]
    assert await properties(service, excluded_properties='["$ip", "note"]') == ["amount", "page"]


REFUSED: list[tuple[str, Json, str]] = [
    ("event_definitions", {"event_type": "action_event"}, "event_type"),
    ("event_definitions", {"ordering": "-volume"}, "ordering"),
    ("property_definitions", {"type": "session"}, "type"),
    ("property_definitions", {"type": "group"}, "group_type_index"),
    ("property_definitions", {"type": "group", "group_type_index": 5}, "group_type_index"),
    ("property_definitions", {"type": "person", "event_names": '["visit"]'}, "event_names"),
    ("property_definitions", {"event_names": "visit"}, "event_names"),
    ("property_definitions", {"event_names": "[1]"}, "event_names"),
    ("property_definitions", {"excluded_properties": "{}"}, "excluded_properties"),
    ("property_definitions", {"is_numerical": "perhaps"}, "is_numerical"),
]


@pytest.mark.one_database
async def test_what_is_not_understood_is_refused(service: Service) -> None:
    for path, parameters, attr in REFUSED:
        answer = await service.get(f"/{path}/", **parameters)
        assert (answer.status_code, answer.json()["attr"]) == (400, attr), answer.text


@pytest.mark.one_database
async def test_definitions_stop_at_a_number_of_names(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEFINITIONS", replace(limits.DEFINITIONS, value=3))
    await service.capture(*(event(f"e{number}", "ann", properties={f"p{number}": 1}) for number in range(3)))
    assert (await events(service)).keys() == {"e0", "e1", "e2"}

    await service.capture(
        event("e1", "ann", ago(hours=1)), *(event(f"e{number}", "ann", ago(hours=1)) for number in range(3, 6))
    )

    found = await events(service)
    assert {name: one["volume_30_day"] for name, one in found.items()} == {"e1": 1, "e0": 0, "e2": 0}
    assert len(await properties(service)) == 3


@pytest.mark.one_database
async def test_definitions_stop_at_a_number_of_properties_of_an_event(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EVENT_PROPERTIES", replace(limits.EVENT_PROPERTIES, value=2))
    await service.capture(event("visit", "ann", properties={f"p{number}": 1 for number in range(4)}))
    asked = {"event_names": '["visit"]', "filter_by_event_names": "true"}
    assert len(await properties(service, **asked)) == 2

    await service.capture(event("visit", "ann", properties={"other": 1}))

    assert len(await properties(service, **asked)) == 2
    assert "other" in await properties(service)


@pytest.mark.one_database
async def test_definitions_leave_out_the_properties_of_large_events(service: Service) -> None:
    size = limits.DEFINED_EVENT_BYTES.value
    await service.capture(
        event("small", "ann", properties={"a": "x" * (size - 200)}), event("large", "ann", properties={"b": "x" * size})
    )

    assert await properties(service) == ["$ip", "a"]
    assert (await events(service)).keys() == {"small", "large"}


@pytest.mark.one_database
async def test_list_of_definitions_takes_a_limited_time_and_goes_on(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DEFINITIONS_SECONDS", replace(limits.DEFINITIONS_SECONDS, value=0))
    monkeypatch.setattr(definitions, "_EVENTS_AT_A_TIME", 2)
    await service.capture(*(event(f"e{number}", "ann") for number in range(5)))

    assert [len(await events(service)) for _ in range(3)] == [2, 4, 5]


@pytest.mark.own_database
async def test_background_keeps_the_names_and_counts_each_event_once(service: Service, database: Database) -> None:
    await service.capture(*(event("visit", f"p{number}", ago(days=1)) for number in range(3)))
    materializer = Materializer(database)
    scheduler = MaintenanceScheduler(database, lambda one: build_maintenance(database, materializer, one), 60)

    await scheduler.run_once()
    await scheduler.run_once()

    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(EventDefinition)) == 1
    assert (await events(service))["visit"]["volume_30_day"] == 3


async def test_definitions_end_with_their_project(service: Service, database: Database) -> None:
    await service.capture(event("visit", "ann", ago(days=1), properties={"a": 1}))
    await DefinitionService(database, service.project_id).catch_up(60)

    async with database.write() as session:
        project = await session.get_one(Project, service.project_id)
        await session.delete(project)

    async with database.read() as session:
        query = select(func.count()).where(EventDefinition.project_id == service.project_id)
        assert await session.scalar(query) == 0


async def test_lists_at_the_same_time_look_through_events_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.capture(event("visit", "ann"))
    looks = 0
    read = EventRepository.named_after

    async def counted(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        return await read(*arguments)

    monkeypatch.setattr(EventRepository, "named_after", counted)
    pages = await asyncio.gather(*(service.read("/event_definitions/") for _ in range(5)))

    assert [page["count"] for page in pages] == [1] * 5
    assert looks == 1
