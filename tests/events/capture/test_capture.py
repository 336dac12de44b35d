"""Sending events over HTTP: what is acknowledged is stored, once."""

import asyncio
import json
from typing import Any

import pytest

from app.common import limits
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

UUIDS = [f"00000000-0000-4000-8000-{number:012}" for number in range(10)]


async def stored(service: Service) -> list[tuple[str, str]]:
    """Return name and distinct id of the stored events, oldest first."""
    page = await service.read("/events/")
    return [(one["event"], one["distinct_id"]) for one in reversed(page["results"])]


@pytest.mark.parametrize("path", ["/batch/", "/batch", "/capture/", "/capture"])
async def test_events_are_taken_on_every_spelling_without_a_redirect(service: Service, path: str) -> None:
    response = await service.client.post(path, json={"api_key": service.token, "event": "visit", "distinct_id": "ann"})

    assert (response.status_code, response.json()) == (200, {"status": 1})
    assert await stored(service) == [("visit", "ann")]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "text/plain;charset=UTF-8", None])
async def test_body_is_json_whatever_it_is_called(service: Service, content_type: str | None) -> None:
    body = json.dumps({"api_key": service.token, "event": "visit", "distinct_id": "ann"})
    headers = {"Content-Type": content_type} if content_type else {}

    response = await service.client.post("/capture/", content=body, headers=headers)

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("token", "code", "detail"),
    [
        (None, "missing_api_key", "API key not provided."),
        ("phc_unknown", "invalid_api_key", "Project API key invalid."),
        ("nul\0", "invalid_api_key", "Project API key invalid."),
    ],
)
async def test_events_need_a_projects_token(service: Service, token: str | None, code: str, detail: str) -> None:
    response = await service.client.post("/batch/", json={"api_key": token, "batch": [event("visit", "ann")]})

    assert response.status_code == 401
    assert response.json() == {
        "type": "authentication_error",
        "code": code,
        "detail": f"{detail} `abacus project create` prints the project's token, and GET /api/projects/ returns it.",
        "attr": None,
    }


async def test_personal_key_is_no_token(service: Service) -> None:
    response = await service.client.post("/batch/", json={"api_key": service.key, "batch": [event("visit", "ann")]})

    assert response.status_code == 401


async def test_request_without_a_body_has_no_data(service: Service) -> None:
    response = await service.client.post("/batch/")

    assert (response.status_code, response.json()["code"]) == (400, "no_data")


async def test_one_bad_event_refuses_the_whole_batch(service: Service) -> None:
    response = await service.send([event("visit", "ann"), {"event": "visit"}])

    assert (response.status_code, response.json()["code"]) == (400, "invalid_payload")
    assert await stored(service) == []


async def test_body_that_is_too_large_is_refused(service: Service) -> None:
    response = await service.client.post("/batch/", content=b" " * (20 * 1024 * 1024 + 1))

    assert (response.status_code, response.json()["code"]) == (413, "request_too_large")


async def test_sending_again_changes_nothing(service: Service) -> None:
    batch = [
        event("visit", "ann", uuid=UUIDS[0], properties={"$set": {"plan": "free"}}),
        event("visit", "ann", uuid=UUIDS[0]),
        event("visit", "bob", uuid=UUIDS[1]),
    ]
    await service.capture(*batch)
    await service.capture(event("$set", "ann", uuid=UUIDS[2], properties={"$set": {"plan": "pro"}}))

    await service.capture(*batch)

    assert await stored(service) == [("visit", "ann"), ("visit", "bob"), ("$set", "ann")]
    [ann] = (await service.read("/persons/", distinct_id="ann"))["results"]
    assert ann["properties"]["plan"] == "pro"


@pytest.mark.each_database
async def test_equal_batches_at_the_same_time_are_stored_once(service: Service) -> None:
    batch = [event("visit", f"person {number}", uuid=uuid) for number, uuid in enumerate(UUIDS)]

    await asyncio.gather(*[service.capture(*batch) for _ in range(5)])

    assert len(await stored(service)) == 10
    assert len((await service.read("/persons/"))["results"]) == 10


@pytest.mark.each_database
async def test_new_distinct_id_in_many_requests_is_one_person(service: Service) -> None:
    await asyncio.gather(*[service.capture(event("visit", "ann"), event("visit", "bob")) for _ in range(8)])

    assert len((await service.read("/persons/"))["results"]) == 2
    assert len(await stored(service)) == 16


@pytest.mark.each_database
async def test_requests_that_share_a_commit_have_answers_of_their_own(service: Service) -> None:
    strangers = {"api_key": "phc_unknown", "batch": [event("visit", "eve")]}
    broken = {"api_key": service.token, "batch": [{"event": "visit"}]}
    requests = []
    for number in range(20):
        batch = [event("first", f"{number}"), event("second", f"{number}")]
        requests.append(service.send(batch))
        requests.append(service.client.post("/e/", json=strangers))
        requests.append(service.client.post("/e/", json=broken))

    answers = await asyncio.gather(*requests)

    assert [answer.status_code for answer in answers] == [200, 401, 400] * 20
    page = await service.read("/events/", limit=1000)
    by_person: dict[str, list[str]] = {}
    for one in page["results"]:  # newest first
        by_person.setdefault(one["distinct_id"], []).append(one["event"])
    assert by_person == {f"{number}": ["second", "first"] for number in range(20)}


@pytest.mark.each_database
async def test_batch_may_be_larger_than_a_statement(service: Service) -> None:
    events: list[dict[str, Any]] = [
        {"event": "visit", "distinct_id": f"{number % 7000}", "uuid": f"00000000-0000-4000-8000-{number:012}"}
        for number in range(limits.EVENTS.value)
    ]
    await service.capture(*events)
    await service.capture(*events)

    [last] = (await service.read("/persons/", limit=1))["results"]
    page = await service.read("/persons/", limit=1, offset=6999)
    assert last["distinct_ids"] == ["6999"]
    assert (len(page["results"]), page["next"]) == (1, None)


@pytest.mark.each_database
@pytest.mark.parametrize(
    "value",
    [
        "null",
        "1e400",
        "9" * 5000,
        '"' + "é" * 1000 + '"',
        '"\\u0000"',
        "[" * 400 + "]" * 400,
        '{"a": {"b": [1, null]}}',
    ],
)
@pytest.mark.parametrize("place", ["x", "$feature/checkout", "$set"])
async def test_any_property_can_be_stored_and_shown(service: Service, value: str, place: str) -> None:
    inner = f'{{"x": {value}}}' if place == "$set" else value
    members = f'"api_key": "{service.token}", "event": "$pageview", "distinct_id": "a"'
    body = f'{{{members}, "properties": {{"{place}": {inner}}}}}'

    response = await service.client.post("/capture/", content=body)
    await service.capture(event("$pageview", "a", properties={"$set": {"later": 1}}))
    experiment = await service.create_experiment()

    assert response.status_code == 200
    assert (await service.get("/events/")).status_code == 200
    assert (await service.get("/persons/")).status_code == 200
    assert (await service.get(f"/experiments/{experiment['id']}/results/")).status_code == 400  # no control
