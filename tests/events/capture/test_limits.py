"""What a capture request may cost: just below a limit it is stored, just above it is refused, and nothing is built."""

import dataclasses
import datetime as dt
import json
import tracemalloc
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.common import limits
from app.common.errors import AppError, PayloadTooLarge, ValidationFailed
from app.events.capture.decoding.requests import decode_batch
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

NOW = dt.datetime(2022, 11, 2, 12, tzinfo=dt.UTC)
EVENT: dict[str, Any] = {"event": "visit", "distinct_id": "ann"}


def decode(document: object) -> Sequence[object]:
    return list(decode_batch(json.dumps(document, separators=(",", ":")).encode(), NOW).events)


def of_size(size: int) -> dict[str, Any]:
    """Return an event whose JSON has this size in bytes."""
    sent = {**EVENT, "properties": {"text": ""}}
    rest = size - len(json.dumps(sent, separators=(",", ":")))
    return {**EVENT, "properties": {"text": "x" * rest}}


@pytest.mark.parametrize("beside", [{}, {"properties": {"text": "x" * 200}}], ids=["small", "large"])
@pytest.mark.parametrize("is_list", [True, False])
def test_request_holds_at_most_the_limit_of_events(beside: dict[str, Any], *, is_list: bool) -> None:
    def request(count: int) -> object:
        events = [{**EVENT, **beside}] * count
        return events if is_list else {"batch": events}

    assert len(decode(request(limits.EVENTS.value))) == limits.EVENTS.value
    with pytest.raises(PayloadTooLarge, match=r"at most 10,000 events"):
        decode(request(limits.EVENTS.value + 1))


@pytest.mark.parametrize("others", [[], [EVENT]])
def test_event_has_at_most_the_limit_of_bytes(others: list[dict[str, Any]]) -> None:
    for request in (lambda one: [*others, one], lambda one: {"batch": [*others, one]}):
        assert len(decode(request(of_size(limits.EVENT_BYTES.value)))) == len(others) + 1
        with pytest.raises(PayloadTooLarge, match=r"1,048,576 bytes"):
            decode(request(of_size(limits.EVENT_BYTES.value + 1)))


@pytest.mark.parametrize("field", ["event", "distinct_id", "$distinct_id", "timestamp", "token", "offset"])
def test_field_of_an_event_has_at_most_the_limit_of_bytes(field: str) -> None:
    def request(size: int) -> object:
        return [{**EVENT, field: ["x" * (size - len('[""]'))]}]

    assert decode(request(limits.EVENT_FIELD_BYTES.value))
    with pytest.raises(ValidationFailed) as refusal:
        decode(request(limits.EVENT_FIELD_BYTES.value + 1))
    assert (refusal.value.code, refusal.value.detail) == ("invalid_payload", limits.EVENT_FIELD_BYTES.detail)


@pytest.mark.parametrize("field", ["event", "distinct_id", "timestamp"])
def test_text_of_a_field_has_at_most_the_limit_of_bytes(field: str) -> None:
    assert decode([{**EVENT, field: "x" * limits.EVENT_FIELD_BYTES.value}])
    with pytest.raises(ValidationFailed) as refusal:
        decode([{**EVENT, field: "x" * (limits.EVENT_FIELD_BYTES.value + 1)}])
    assert refusal.value.detail == f"{limits.EVENT_FIELD_BYTES.detail} ([0].{field})"


def test_at_most_the_limit_of_events_joins_persons() -> None:
    joining = [{**EVENT, "event": "$identify", "properties": {"$anon_distinct_id": "device"}}] * limits.MERGES.value

    assert len(decode([*joining, EVENT])) == limits.MERGES.value + 1
    with pytest.raises(PayloadTooLarge, match=r"join persons"):
        decode([*joining, joining[0]])


LISTS = b"[" + b"[]," * 1_000_000 + b"1]"
OBJECTS = b"{}," * 1_000_000


@pytest.mark.parametrize(
    "body",
    [
        b"[" + OBJECTS + b"{}]",
        b'{"batch":[' + OBJECTS + b"{}]}",
        b"[" + OBJECTS + b"NaN]",
        b"[" + b"1," * 1_500_000 + b"{}]",
        b'{"event":' + LISTS + b',"distinct_id":"a"}',
        b'{"batch":[{"event":"e","distinct_id":"a","timestamp":' + LISTS + b"}]}",
        b'{"event":"e","distinct_id":"a","properties":{"$set":' + LISTS + b"}}",
        b'{"event":"e","distinct_id":NaN,"properties":{"token":' + LISTS + b"}}",
        b'{"event":"' + "😀".encode() + b"x" * 3_000_000 + b'"}',
        b'{"event":[' + b"NaN," * 700_000 + b"1]}",
        b'{"event":["' + rb"\ud800" * 200_000 + b'"]}',
    ],
    ids=lambda body: body[:30].decode(errors="replace"),
)
def test_request_that_is_refused_costs_little_more_than_its_text(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(AppError):
            list(decode_batch(body, NOW).events)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 * len(body)


async def test_token_of_a_large_request_is_looked_up_before_its_events_are_read(service: Service) -> None:
    events = [{**of_size(70_000), "uuid": "not a uuid"}]

    unknown = await service.client.post("/batch/", json={"api_key": "phc_unknown", "batch": events})
    missing = await service.client.post("/batch/", json={"batch": events})
    known = await service.client.post("/batch/", json={"api_key": service.token, "batch": events})

    assert (unknown.status_code, unknown.json()["code"]) == (401, "invalid_api_key")
    assert (missing.status_code, missing.json()["code"]) == (401, "missing_api_key")
    assert (known.status_code, known.json()["code"]) == (400, "invalid_payload")


@pytest.mark.each_database
async def test_large_request_with_a_personal_key_is_stored_in_the_project_that_it_names(service: Service) -> None:
    body = {"api_key": service.key, "project_id": service.project_id, "batch": [of_size(70_000)]}

    response = await service.client.post("/batch/", json=body)

    assert response.status_code == 200, response.text
    assert len((await service.read("/events/"))["results"]) == 1


@pytest.mark.parametrize(
    ("path", "statuses"), [("/capture/", [403, 403, 200, 403, 200]), ("/flags/", [403, 403, 403, 200, 200])]
)
async def test_personal_key_stands_for_a_token_only_with_the_scope_for_it(
    service: Service, path: str, statuses: list[int]
) -> None:
    async def send(scope: str) -> int:
        created = await service.client.post(
            "/api/personal_api_keys/",
            json={"label": scope, "scopes": [scope]},
            headers={"Authorization": f"Bearer {service.key}"},
        )
        body = {"api_key": created.json()["value"], "project_id": service.project_id, **EVENT}
        return (await service.client.post(path, json=body)).status_code

    scopes = ("user:read", "event:read", "event:write", "feature_flag:read", "*")
    assert [await send(scope) for scope in scopes] == statuses
    assert len((await service.read("/events/"))["results"]) == (2 if path == "/capture/" else 0)


async def test_person_keeps_the_properties_that_fit_and_the_event_is_stored(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    half = "x" * (limits.PERSON_PROPERTY_BYTES.value // 2)
    await service.capture(event("a", "ann", properties={"$set": {"first": half, "plan": "free"}}))
    await service.capture(event("b", "ann", properties={"$set": {"second": half, "plan": "paid"}}))

    [person] = (await service.read("/persons/"))["results"]
    del person["properties"]["$creator_event_uuid"]
    assert person["properties"] == {"first": half, "plan": "paid"}
    assert [one["event"] for one in (await service.read("/events/"))["results"]] == ["b", "a"]
    assert f"project {service.project_id}: 1 properties of a person were left out" in caplog.text
    assert "'second'" in caplog.text


async def test_many_persons_with_large_properties_are_read_a_few_at_a_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.capture(*(event("a", f"p{n}", properties={"$set": {"text": "x" * 20_000}}) for n in range(40)))
    monkeypatch.setattr("app.people.persons.service._RUN_BYTES", 50_000)
    changes = [event("b", f"p{n % 40}", properties={"$set": {"last": n}}) for n in range(80)]
    await service.capture(*changes, event("$identify", "p0", properties={"$anon_distinct_id": "p1"}))
    await service.capture(*changes)

    persons = (await service.read("/persons/", limit=100))["results"]
    last = {frozenset(person["distinct_ids"]): person["properties"]["last"] for person in persons}
    assert last == {frozenset(["p0", "p1"]): 41} | {frozenset([f"p{n}"]): n + 40 for n in range(2, 40)}
    pages = [await service.read("/events/", limit=1000)]  # large persons make a page end early
    while following := pages[-1]["next"]:
        pages.append(await service.read("/events/", **dict(parse_qsl(urlsplit(following).query))))
    assert sum(len(page["results"]) for page in pages) == 201


async def test_persons_that_a_request_changes_have_at_most_the_limit_of_bytes_together(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.capture(*(event("a", f"p{n}", properties={"$set": {"text": "x" * 20_000}}) for n in range(40)))
    limit = dataclasses.replace(limits.CHANGED_PERSON_BYTES, value=500_000)
    monkeypatch.setattr("app.people.persons.service.CHANGED_PERSON_BYTES", limit)

    response = await service.send([event("b", f"p{n}", properties={"$set": {"a": 1}}) for n in range(40)])

    assert (response.status_code, response.json()["code"]) == (413, "request_too_large")


async def test_group_keeps_the_properties_that_fit(service: Service) -> None:
    half = "x" * (limits.GROUP_PROPERTY_BYTES.value // 2)

    def describe(**properties: str) -> dict[str, object]:
        said = {"$group_type": "company", "$group_key": "acme", "$group_set": properties}
        return event("$groupidentify", "ann", properties=said)

    await service.capture(describe(first=half, plan="free"), describe(second=half, plan="paid"))

    [group] = (await service.read("/groups/", group_type_index=0))["results"]
    assert group["group_properties"] == {"first": half, "plan": "paid"}
