"""Persons are erased without changing results, and nothing of them is left."""

import asyncio
import gc
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from types import CoroutineType, FrameType
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, ColumnElement, LargeBinary, Text, cast, select

from app.common import limits
from app.db.database import Database
from app.db.models import Base, Event
from app.events.appending.repository import NewEvent, NewEventRepository
from app.operations.maintenance import erasure
from app.operations.maintenance.scheduler import MaintenanceScheduler
from app.operations.maintenance.wiring import build_maintenance
from tests.conftest import new_service
from tests.support.examples import examples
from tests.support.service import FUNNEL, Json, Service, event, exposure

pytestmark = pytest.mark.clickhouse

PERSONS = ("ann", "bob", "cem", "dot")
PLANS = ("free", "team")
VIEW = {"id": "$pageview", "order": 0}
IS_TEAM = {"key": "plan", "value": ["team"], "operator": "exact", "type": "person"}
NOT_STAFF = {"key": "email", "value": "@staff", "operator": "not_icontains", "type": "person"}

visits = st.tuples(st.just("visit"), st.sampled_from(PERSONS), st.integers(1, 13), st.sampled_from(["control", "test"]))
purchases = st.tuples(
    st.just("buy"), st.sampled_from(PERSONS), st.integers(1, 13), st.sampled_from(["control", "test"])
)
merges = st.tuples(st.just("merge"), st.sampled_from(PERSONS), st.sampled_from(["phone", "tablet"]))
erasures = st.tuples(st.just("erase"), st.sampled_from(PERSONS), st.booleans())
reads = st.just(("read",))
histories = st.lists(st.one_of(visits, purchases, merges, erasures, reads), min_size=3, max_size=14)


async def create_experiment(service: Service, attribution: str) -> str:
    """Create an experiment with metrics of every kind of condition, and return its address."""
    await service.patch("/", {"test_account_filters": [NOT_STAFF]})
    listed = (await service.post("/cohorts/", {"name": "l", "is_static": True, "distinct_ids": ["ann", "bob"]})).json()
    groups = [{"properties": [{**IS_TEAM, "operator": "is_not"}]}]
    dynamic = (await service.post("/cohorts/", {"name": "d", "groups": groups})).json()
    conditions: list[list[Json]] = [
        [IS_TEAM],
        [{"key": "id", "value": listed["id"], "type": "cohort"}],
        [{"key": "id", "value": dynamic["id"], "type": "cohort"}, {**IS_TEAM, "operator": "is_not"}],
    ]
    trends = [{"events": [{**VIEW, "properties": one}], "filter_test_accounts": True} for one in conditions]
    trends.append({"events": [{**VIEW, "math": "dau"}]})
    made = await service.create_experiment(
        filters={**FUNNEL, "filter_test_accounts": True},
        secondary_metrics=[{"name": "m", "filters": {"insight": "TRENDS", **trend}} for trend in trends],
        parameters={"attribution": attribution},
    )
    return f"/experiments/{made['id']}"


async def answers(service: Service, experiment: str, refresh: str = "false") -> list[Json]:
    """Return the figures of all metrics, counted anew if asked for, and the exposures."""
    paths = [f"{experiment}/results/?", *(f"{experiment}/secondary_results/?id={number}&" for number in range(4))]
    found = [(await service.get(f"{path}refresh={refresh}")).json() for path in paths]
    return [strip(one) for one in [*found, await service.read(f"{experiment}/exposures/")]]


def strip(body: Json) -> Json:
    """Leave out what says when something was counted."""
    return {name: value for name, value in body.items() if name not in {"last_refresh", "as_of"}}


def happening(step: tuple[Any, ...]) -> Sequence[dict[str, object]]:
    kind, person, *rest = step
    if kind == "merge":
        device = f"{person}'s {rest[0]}"
        return [event("$pageview", device), event("$identify", person, properties={"$anon_distinct_id": device})]
    day, variant = rest
    time = f"2022-11-{day:02}T10:00:00Z"
    profile = {"$set": {"plan": PLANS[PERSONS.index(person) % 2], "email": f"{person}@{'staff' if day > 9 else 'x'}"}}
    if kind == "buy":
        return [event("purchase", person, time, variant=variant)]
    return [exposure(person, variant, time), event("$pageview", person, time, variant=variant, properties=profile)]


async def erase(service: Service, distinct_id: str, *, removes_events: bool) -> bool:
    found = (await service.read("/persons/", distinct_id=distinct_id))["results"]
    for person in found:
        suffix = "?delete_events=true" if removes_events else ""
        response = await service.delete(f"/persons/{person['id']}/{suffix}")
        assert (response.status_code, response.content) == (204, b""), response.text
    return bool(found)


@pytest.mark.one_database
@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=histories,
    person=st.sampled_from(PERSONS),
    removes_events=st.booleans(),
    attribution=st.sampled_from(["events", "exposure"]),
)
async def test_erasure_leaves_results_and_recounts_as_they_were(
    client: httpx.AsyncClient,
    database: Database,
    history: list[tuple[Any, ...]],
    person: str,
    removes_events: bool,  # drawn
    attribution: str,
) -> None:
    service = await new_service(client, database)
    await service.capture(*[one for known in PERSONS for one in happening(("visit", known, 2, "test"))])
    experiment = await create_experiment(service, attribution)
    for step in history:
        if step[0] == "erase":
            await erase(service, step[1], removes_events=step[2])
        elif step[0] == "read":
            await service.read(f"{experiment}/exposures/")
        else:
            await service.capture(*happening(step))
    before = await answers(service, experiment)

    await erase(service, person, removes_events=removes_events)

    assert await answers(service, experiment) == before
    assert await answers(service, experiment, "true") == before
    await service.capture(*happening(("visit", person, 5, "control")))  # someone new
    added = (await service.read(f"{experiment}/exposures/"))["total_exposures"]
    assert sum(added.values()) == sum(before[-1]["total_exposures"].values()) + 1


@pytest.mark.one_database
async def test_results_that_were_never_read_count_an_erased_person(service: Service) -> None:
    await service.capture(*happening(("visit", "ann", 2, "test")), *happening(("visit", "bob", 2, "control")))
    experiment = await create_experiment(service, "events")

    assert await erase(service, "ann", removes_events=True)

    assert (await service.read(f"{experiment}/exposures/"))["total_exposures"] == {
        "control": 1,
        "test": 1,
        "$multiple": 0,
    }


async def test_nothing_of_an_erased_person_is_left(service: Service, database: Database) -> None:
    canary = "9d1f-canary"
    listed = {"name": "l", "is_static": True, "distinct_ids": [f"{canary}-phone", "bob"]}
    cohort = (await service.post("/cohorts/", listed)).json()
    await service.post("/feature_flags/", {"key": "kept", "ensure_experience_continuity": True})
    await service.capture(event("visit", "bob"), event("visit", f"{canary}-phone", properties={"note": canary}))
    await service.capture(
        event("$identify", canary, properties={"$anon_distinct_id": f"{canary}-phone", "$set": {"email": canary}})
    )
    await service.client.post(
        "/flags/", json={"token": service.token, "distinct_id": canary, "$anon_distinct_id": f"{canary}-phone"}
    )
    [person] = (await service.read("/persons/", distinct_id=canary))["results"]
    await service.patch(f"/persons/{person['id']}/", {"properties": {"note": canary}})
    assert len(await tables_with(database, canary)) == 5, await tables_with(database, canary)

    await erase(service, canary, removes_events=True)

    assert await tables_with(database, canary) == []
    assert (await service.read(f"/cohorts/{cohort['id']}/"))["count"] == 1
    assert [one["distinct_id"] for one in (await service.read("/events/"))["results"]] == ["bob"]
    assert (await service.get(f"/persons/{person['id']}/")).status_code == 404


@pytest.mark.one_database
async def test_no_value_of_a_breakdown_is_left(service: Service, database: Database) -> None:
    canary = "9d1f-canary"
    purchases = {"metric_type": "mean", "source": {"kind": "EventsNode", "event": "purchase"}}
    experiment = await service.create_experiment(filters={}, metrics=[purchases])
    called = {"$feature_flag": "checkout", "$session_id": "s"}
    for who, variant in ((canary, "control"), ("bob", "test")):
        properties = {**called, "$feature_flag_response": variant, "note": who}
        await service.capture(event("$feature_flag_called", who, properties=properties))
    path = f"/experiments/{experiment['id']}/analysis/"
    before = await service.read(path, breakdown="note")
    assert "actor_key" in await tables_with(database, canary)

    await erase(service, canary, removes_events=True)
    after = await service.read(path, breakdown="note")

    assert await tables_with(database, canary) == []
    assert {one["value"] for one in before["breakdown"]["values"]} == {canary, "bob"}
    assert {one["value"]: one["exposed"] for one in after["breakdown"]["values"]} == {
        None: {"control": 1, "test": 0},
        "bob": {"control": 0, "test": 1},
    }
    assert after["metrics"] == before["metrics"]


@pytest.mark.one_database
async def test_process_remembers_no_text_of_an_erased_person(service: Service) -> None:
    """Neither in what it has worked out for events, addresses, sessions, groups and values, nor with statements."""
    sessions = {"kind": "EventsNode", "event": "purchase", "math": "unique_session"}
    experiment = await service.create_experiment(filters={}, metrics=[{"metric_type": "mean", "source": sessions}])
    canary, address = "-".join(("7c3e", "robin")), "::".join(("2001:db8", "7c3e"))
    said = {
        "$session_id": f"{canary}-session",
        "$groups": {"company": f"{canary}-company"},
        "note": canary,
        "$feature_flag": "checkout",
        "$feature_flag_response": "test",
        "$set": {"email": f"{canary}@example.com"},
    }
    events = [event(name, canary, properties=said) for name in ("$feature_flag_called", "purchase")]
    for path, body in (("/batch/", {"batch": events}), ("/flags/", {"distinct_id": canary})):
        sent = await service.client.post(
            path, json={"token": service.token, **body}, headers={"x-forwarded-for": address}
        )
        assert sent.status_code == 200
    await service.read(f"/experiments/{experiment['id']}/analysis/", breakdown="note")
    [person] = (await service.read("/persons/"))["results"]  # a filter would be remembered by the client of this test

    await service.delete(f"/persons/{person['id']}/?delete_events=true")

    del events, said, body, sent, person, canary, address
    assert objects_with(re.compile("7c3e[-]robin|2001:db8[:]:7c3e")) == []  # which is not found itself


@pytest.mark.one_database
async def test_erasure_that_fails_half_way_forgets_the_persons_that_it_erased(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.capture(event("visit", "ann"))
    [person] = (await service.read("/persons/"))["results"]
    forget, forgotten = Database.forget_statements, 0

    async def fail(*_arguments: object) -> None:
        raise ConnectionResetError

    def note(database: Database) -> None:
        nonlocal forgotten
        forgotten += 1
        forget(database)

    monkeypatch.setattr(erasure.ErasureService, "remove_events", fail)
    monkeypatch.setattr(Database, "forget_statements", note)
    refused = await service.delete(f"/persons/{person['id']}/?delete_events=true")

    assert (refused.status_code, forgotten) == (503, 1)
    assert (await service.read("/persons/"))["results"] == []


def objects_with(pattern: re.Pattern[str]) -> list[str]:
    """Return the objects of this process that hold a text of a pattern."""
    gc.unfreeze()
    try:
        gc.collect()
        return [
            repr(holder)[:1_000]
            for holder in gc.get_objects()
            if not isinstance(holder, FrameType | CoroutineType)
            and any(pattern.search(held) for held in gc.get_referents(holder) if type(held) is str)
        ]
    finally:
        gc.freeze()


async def tables_with(database: Database, text: str) -> list[str]:
    """Return the tables of which a row contains a text."""
    async with database.read() as session:
        return [
            table.name
            for table in Base.metadata.sorted_tables
            if text in str((await session.execute(select(*map(as_text, table.c)))).all())
        ]


def as_text(column: Column[Any]) -> ColumnElement[Any]:
    return column if isinstance(column.type, LargeBinary) else cast(column, Text)


@pytest.mark.one_database
async def test_person_can_be_erased_while_the_events_stay(service: Service) -> None:
    await service.capture(event("visit", "ann", properties={"$set": {"email": "ann@x"}}))
    [before] = (await service.read("/persons/"))["results"]

    await erase(service, "ann", removes_events=False)

    assert (await service.read("/persons/"))["results"] == []
    [kept] = (await service.read("/events/", distinct_id="ann"))["results"]
    assert (kept["event"], kept["person"]) == ("visit", None)
    await service.capture(event("visit", "ann"))
    [after] = (await service.read("/persons/"))["results"]
    assert after["id"] != before["id"]
    assert "email" not in after["properties"]
    assert [one["person"] is None for one in (await service.read("/events/"))["results"]] == [False, True]


async def test_no_event_is_stored_for_a_person_that_is_being_erased(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.capture(event("visit", "ann"))
    append, erasing = NewEventRepository.append, list[asyncio.Task[bool]]()

    async def append_while_erasing(events: NewEventRepository, new: Sequence[NewEvent]) -> int:
        erasing.append(asyncio.create_task(erase(service, "ann", removes_events=True)))
        await asyncio.wait(erasing, timeout=0.3)  # it has to wait for this transaction
        return await append(events, new)

    monkeypatch.setattr(NewEventRepository, "append", append_while_erasing)
    await service.capture(event("visit", "ann", properties={"n": 2}))
    await asyncio.gather(*erasing)

    assert (await service.read("/events/"))["results"] == []
    async with database.read() as session:
        mine = await session.scalars(select(Event.name).where(Event.project_id == service.project_id))
        assert mine.all() == []


@pytest.mark.own_database
async def test_removal_of_events_goes_on_in_the_background(
    application: FastAPI, service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_SEQUENCES_AT_A_TIME", 2)
    monkeypatch.setattr(limits, "ERASURE_SECONDS", replace(limits.ERASURE_SECONDS, value=0))
    await service.capture(*[event("visit", name) for name in ("ann", "bob") * 4])
    await erase(service, "ann", removes_events=True)
    assert (await service.read("/events/", distinct_id="ann"))["results"]

    await scheduler_of(application).run_once()

    assert [one["distinct_id"] for one in (await service.read("/events/"))["results"]] == ["bob"] * 4
    await erase(service, "bob", removes_events=True)
    await scheduler_of(application).run_once()
    assert (await service.read("/events/"))["results"] == []


def scheduler_of(application: FastAPI) -> MaintenanceScheduler:
    state = application.state
    return MaintenanceScheduler(state.database, lambda of: build_maintenance(state.database, state.materializer, of), 0)


async def test_several_persons_are_erased_at_once(service: Service, database: Database) -> None:
    neighbor = await new_service(service.client, database, beside=service)
    await service.capture(*[event("visit", name) for name in ("ann", "bob", "cem", "dot")])
    await neighbor.capture(event("visit", "ann"))
    known = {one["name"]: one for one in (await service.read("/persons/"))["results"]}
    [theirs] = (await neighbor.read("/persons/"))["results"]

    by_id = {"ids": [known["ann"]["uuid"], known["bob"]["id"], theirs["uuid"], theirs["id"]]}
    by_name = {"distinct_ids": ["cem", "nobody"], "delete_events": True}
    given = [await service.post("/persons/bulk_delete/", body) for body in (by_id, by_name)]

    assert [one.status_code for one in given] == [202, 202]
    assert [one["name"] for one in (await service.read("/persons/"))["results"]] == ["dot"]
    assert {one["distinct_id"] for one in (await service.read("/events/"))["results"]} == {"ann", "bob", "dot"}
    assert (await neighbor.read("/persons/"))["results"] == [theirs]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("body", "code", "attr"),
    [
        ({}, "invalid_input", None),
        ({"ids": [], "distinct_ids": []}, "invalid_input", None),
        ({"ids": [1], "distinct_ids": ["ann"]}, "invalid_input", None),
        ({"ids": ["ann"]}, "invalid_input", "ids"),
        ({"ids": "ann"}, "not_a_list", "ids"),
        ({"distinct_ids": [{}]}, "invalid_input", "distinct_ids"),
        ({"distinct_ids": ["ann"], "delete_events": "maybe"}, "invalid_input", "delete_events"),
        ({"ids": [1] * 1_001}, "too_many_persons", "ids"),
    ],
)
async def test_unclear_erasure_is_refused(service: Service, body: Json, code: str, attr: str | None) -> None:
    await service.capture(event("visit", "ann"))

    refused = await service.post("/persons/bulk_delete/", body)

    assert (refused.status_code, refused.json()["code"], refused.json()["attr"]) == (400, code, attr), refused.text
    assert (await service.read("/persons/"))["results"]


async def test_erasure_is_logged_without_personal_data(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "abacus")
    await service.capture(event("visit", "ann-canary"))
    [person] = (await service.read("/persons/"))["results"]

    assert (await service.delete(f"/persons/{person['uuid']}/?delete_events=perhaps")).status_code == 400
    await erase(service, "ann-canary", removes_events=True)
    assert (await service.delete(f"/persons/{person['uuid']}/")).status_code == 404

    [entry] = (await service.read("/persons/activity/"))["results"]
    assert (entry["activity"], entry["scope"], entry["item_id"]) == ("deleted", "Person", str(person["id"]))
    assert (entry["detail"], entry["user"]["email"]) == ({"name": person["uuid"], "changes": []}, service.email)
    lines = [record.getMessage() for record in caplog.records if person["uuid"] in record.getMessage()]
    assert lines[0] == f"project {service.project_id}: person {person['uuid']} was erased, with all events"
    assert "ann-canary" not in json.dumps([entry, lines])
