"""Visitors without cookies: told apart for a day, and joined with nobody."""

import datetime as dt
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from app.db.database import Database
from app.db.models import CookielessSalt
from app.events.capture.service import CaptureService
from app.flags.evaluation.dependencies import build_evaluation
from app.people.cookieless.service import CookielessService
from app.people.cookieless.visitors import COOKIELESS, Visitor, identifier, site_of
from tests.conftest import new_service
from tests.support.service import Service, event, exposure

pytestmark = pytest.mark.one_database

FIREFOX, SAFARI = "Mozilla/5.0 (X11; Linux) Firefox/131.0", "Mozilla/5.0 (Macintosh) Safari/605.1"
NOW = dt.datetime(2026, 3, 5, 12, tzinfo=dt.UTC)


def visit(name: str, distinct_id: str = COOKIELESS, browser: str = FIREFOX, **members: Any) -> dict[str, object]:
    """Return an event as a page with ``cookieless_mode`` sends it."""
    said = {
        "$cookieless_mode": True,
        "$raw_user_agent": browser,
        "$host": "shop.example.com",
        "distinct_id": distinct_id,
        "$device_id": None,
        **members.pop("properties", {}),
    }
    return {"event": name, "distinct_id": distinct_id, "properties": said, **members}


async def people(service: Service) -> list[list[str]]:
    return sorted(sorted(one["distinct_ids"]) for one in (await service.read("/persons/"))["results"])


async def test_visitors_are_told_apart_and_join_nobody(service: Service) -> None:
    for name, browser in (("ann", FIREFOX), ("bob", SAFARI)):
        await service.capture(visit("$pageview", browser=browser), visit("click", browser=browser))
        await service.capture(
            visit("$identify", name, browser, properties={"$anon_distinct_id": COOKIELESS}),
            visit("$create_alias", name, browser, properties={"alias": COOKIELESS}),
            visit("$merge_dangerously", COOKIELESS, browser, properties={"alias": name}),
            visit("buy", name, browser),
        )

    found = await people(service)
    assert len(found) == 4
    assert found[:2] == [["ann"], ["bob"]]
    assert all(one.startswith("cookieless_") for [one] in found[2:])
    events = (await service.read("/events/"))["results"]
    assert len(events) == 12
    assert not {"$ip", "$raw_user_agent"} & set().union(*(one["properties"] for one in events))
    assert COOKIELESS not in {one["distinct_id"] for one in events}


@pytest.mark.parametrize("one", [COOKIELESS, "cookieless_0123456789abcdefghijkl"])
async def test_identifier_of_a_visitor_is_never_joined_with_another(service: Service, one: str) -> None:
    await service.capture(
        event("$identify", "ann", properties={"$anon_distinct_id": one}),
        event("$merge_dangerously", "bob", properties={"alias": one}),
        event("$merge_dangerously", one, properties={"alias": "carl"}),
    )

    assert not any(len(ids) > 1 for ids in await people(service))


async def test_flags_and_events_give_a_visitor_one_identifier(service: Service) -> None:
    flag = {
        "key": "checkout",
        "filters": {
            "groups": [{"properties": [], "rollout_percentage": 100}],
            "multivariate": {
                "variants": [{"key": key, "rollout_percentage": 50} for key in ("control", "test")],
            },
        },
    }
    assert (await service.post("/feature_flags/", flag)).status_code == 201
    for number in range(8):
        headers = {"User-Agent": f"{FIREFOX} {number}", "Origin": "https://Shop.example.com:443"}
        asked = {"token": service.token, "distinct_id": COOKIELESS, "$anon_distinct_id": COOKIELESS}
        answer = await service.client.post("/flags/?v=2", json=asked, headers=headers)
        sent = visit("$pageview", browser=headers["User-Agent"], properties={"$lib": "web"})
        response = await service.client.post("/e/", json={**sent, "api_key": service.token}, headers=headers)
        assert response.status_code == 200

        [newest, *_] = (await service.read("/events/"))["results"]
        by_event = await service.client.post("/flags/?v=2", json={**asked, "distinct_id": newest["distinct_id"]})

        variant = answer.json()["flags"]["checkout"]["variant"]
        assert variant == by_event.json()["flags"]["checkout"]["variant"]
        assert variant == newest["properties"]["$feature/checkout"]  # by which the service completed the event


async def test_event_without_enough_to_go_by_has_no_person_and_is_not_counted(service: Service) -> None:
    experiment = await service.create_experiment()
    counted = exposure("ann", "control")
    uncounted = exposure(COOKIELESS, "test")
    headers = {"User-Agent": ""}
    body = {"api_key": service.token, "batch": [counted, uncounted]}
    assert (await service.client.post("/batch/", json=body, headers=headers)).status_code == 200

    exposures = await service.read(f"/experiments/{experiment['id']}/exposures/")

    assert exposures["total_exposures"] == {"control": 1, "test": 0, "$multiple": 0}
    assert await people(service) == [["ann"]]
    shown = {one["distinct_id"]: one["person"] for one in (await service.read("/events/"))["results"]}
    assert shown[COOKIELESS] is None


async def test_events_are_stored_without_a_person_where_it_is_switched_off(
    service: Service, application: FastAPI, database: Database
) -> None:
    cookieless = CookielessService(database, is_enabled=False)
    application.state.capture = CaptureService(database, build_evaluation(database)[1], cookieless)

    await service.capture(visit("$pageview"), visit("click", browser=SAFARI), visit("buy", "ann"))

    assert await people(service) == [["ann"]]
    assert len((await service.read("/events/"))["results"]) == 3
    await application.state.capture.close()


@pytest.mark.each_database
@pytest.mark.own_database
async def test_salts_are_shared_between_processes_and_removed_when_their_day_is_over(
    database: Database, service: Service
) -> None:
    moment = NOW
    one, other = (CookielessService(database, clock=lambda: moment) for _ in range(2))
    ann = Visitor("192.0.2.1", FIREFOX, "shop.example.com")
    today = await one.distinct_id(service.project_id, ann)

    assert await other.distinct_id(service.project_id, ann) == today
    yesterday = await one.distinct_id(service.project_id, ann, NOW - dt.timedelta(days=1))
    assert yesterday != today
    for out_of_reach in (dt.timedelta(days=-9), dt.timedelta(days=2)):
        assert await one.distinct_id(service.project_id, ann, NOW + out_of_reach) == today
    assert await count_salts(database) == 2

    moment = NOW + dt.timedelta(days=2)
    await other.forget()
    assert await count_salts(database) == 1  # of today, whose late events may still arrive
    moment = NOW + dt.timedelta(days=3)
    await one.forget()
    assert await count_salts(database) == 0
    assert one._salts == {}


async def count_salts(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(CookielessSalt)) or 0


async def test_day_is_that_of_the_project(service: Service, database: Database) -> None:
    tokyo = await new_service(service.client, database, "Asia/Tokyo", beside=service)
    cookieless = CookielessService(database)
    ann = Visitor("192.0.2.1", FIREFOX, "shop.example.com")
    today = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0)
    before, after = today - dt.timedelta(hours=9.5), today - dt.timedelta(hours=8.5)  # midnight in Tokyo lies between

    of_tokyo = {await cookieless.distinct_id(tokyo.project_id, ann, moment) for moment in (before, after)}
    of_utc = {await cookieless.distinct_id(service.project_id, ann, moment) for moment in (before, after)}

    assert (len(of_tokyo), len(of_utc)) == (2, 1)


def test_identifier_depends_on_all_that_tells_visitors_apart() -> None:
    ann = Visitor("192.0.2.1", FIREFOX, "shop.example.com")
    others = [
        ann,
        ann._replace(address="192.0.2.2"),
        ann._replace(user_agent=SAFARI),
        ann._replace(host="www.example.com"),
        ann._replace(extra="x"),
    ]

    found = {identifier(salt, project, one) for salt in (b"1", b"2") for project in (1, 2) for one in others}

    assert len(found) == 20
    assert identifier(b"1", 1, ann._replace(host="https://SHOP.example.com:8443/path")) == identifier(b"1", 1, ann)


@pytest.mark.parametrize(
    ("host", "site"),
    [("a.example:8000", "a.example"), ("http://A.example.", "a.example"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")],
)
def test_site_is_a_host_without_scheme_and_port(host: str, site: str) -> None:
    assert site_of(host) == site
