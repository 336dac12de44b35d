"""The decoding of requests to events, without a database."""

import datetime as dt
import json
from typing import Any
from uuid import UUID

import pytest

from app.common.errors import ValidationFailed
from app.common.timestamps import from_microseconds
from app.events.capture.decoding.events import CapturedEvent
from app.events.capture.decoding.requests import Envelope, decode_batch

NOW = dt.datetime(2022, 11, 2, 12, tzinfo=dt.UTC)


def decode(document: object) -> list[CapturedEvent]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return list(decode_batch(body, NOW).events)


def decode_one(**members: Any) -> CapturedEvent:
    [event] = decode({"event": "visit", "distinct_id": "ann", **members})
    return event


@pytest.mark.parametrize(
    "document",
    [
        {"api_key": "t", "event": "visit", "distinct_id": "ann"},
        [{"token": "t", "event": "visit", "distinct_id": "ann"}],
        {"token": "t", "batch": [{"event": "visit", "distinct_id": "ann"}]},
        {"$token": "t", "api_key": "x", "event": "visit", "distinct_id": "ann"},
        {"event": "visit", "properties": {"token": "t", "distinct_id": "ann"}},
    ],
)
def test_shapes_of_sdks_are_understood(document: object) -> None:
    batch = decode_batch(json.dumps(document).encode(), NOW)

    assert (batch.token, [(event.name, event.distinct_id) for event in batch.events]) == ("t", [("visit", "ann")])


@pytest.mark.parametrize(
    ("members", "distinct_id"),
    [
        ({"distinct_id": 7}, "7"),
        ({"distinct_id": 1.5}, "1.5"),
        ({"distinct_id": {"a": 1}}, '{"a": 1}'),
        ({"distinct_id": "x" * 300}, "x" * 200),
        ({"distinct_id": "a\0b"}, "a\N{REPLACEMENT CHARACTER}b"),
        ({"properties": {"distinct_id": "of the properties"}}, "of the properties"),
        ({"$distinct_id": "first of all", "properties": {"distinct_id": "x"}}, "first of all"),
    ],
)
def test_distinct_ids_are_text_of_bounded_length(members: dict[str, Any], distinct_id: str) -> None:
    assert decode_one(**members).distinct_id == distinct_id


@pytest.mark.parametrize(
    ("members", "time"),
    [
        ({}, "2022-11-02T12:00:00+00:00"),
        ({"timestamp": "2022-11-01T10:00:00.123456Z"}, "2022-11-01T10:00:00.123456+00:00"),
        ({"timestamp": "2022-11-01T10:00:00+02:00"}, "2022-11-01T08:00:00+00:00"),
        ({"timestamp": "2022-11-01T10:00:00"}, "2022-11-01T10:00:00+00:00"),
        ({"timestamp": "2022-11-05T10:00:00Z"}, "2022-11-05T10:00:00+00:00"),  # what is ahead counts when it is due
        ({"timestamp": "yesterday"}, "2022-11-02T12:00:00+00:00"),
        ({"timestamp": 1667296800123}, "2022-11-01T10:00:00.123000+00:00"),
        ({"timestamp": 1667296800.5}, "2022-11-01T10:00:00.500000+00:00"),
        ({"timestamp": 1667383140000, "sent_at": "2022-11-02T10:00:00Z"}, "2022-11-02T11:59:00+00:00"),
        ({"timestamp": True}, "2022-11-02T12:00:00+00:00"),
        ({"timestamp": 10**400}, "2022-11-02T12:00:00+00:00"),
        ({"timestamp": -1}, "2022-11-02T12:00:00+00:00"),
        ({"timestamp": "0001-01-01T00:00:00Z"}, "2022-11-02T12:00:00+00:00"),
        ({"timestamp": "9999-12-31T23:59:59Z"}, "2022-11-02T12:00:00+00:00"),
        ({"offset": 1500}, "2022-11-02T11:59:58.500000+00:00"),
        ({"offset": 10**30}, "2022-11-02T12:00:00+00:00"),
        ({"timestamp": "2022-11-02T09:59:00Z", "sent_at": "2022-11-02T10:00:00Z"}, "2022-11-02T11:59:00+00:00"),
        ({"timestamp": "9999-12-31T00:00:00Z", "sent_at": "0001-01-01T00:00:00Z"}, "2022-11-02T12:00:00+00:00"),
    ],
)
def test_times_are_those_of_our_clock(members: dict[str, Any], time: str) -> None:
    assert from_microseconds(decode_one(**members).time).isoformat() == time


@pytest.mark.parametrize(
    ("members", "query", "form", "time"),
    [
        # The client sent at 10:00 by its clock what we received at 12:00, an event of 09:59:00.
        ({}, "1667383200000", "", "11:59:00"),
        ({}, "1667383200", "", "11:59:00"),
        ({}, "2022-11-02T10:00:00Z", "", "11:59:00"),
        ({}, "", "2022-11-02T11:00:00+01:00", "11:59:00"),
        ({"sent_at": "2022-11-02T10:00:00Z"}, "", "", "11:59:00"),
        ({"sent_at": "1667383200000"}, "", "", "11:59:00"),
        ({"sent_at": "2022-11-02T10:00:00"}, "", "", "11:59:00"),
        ({"sent_at": "2022-11-02T11:00:00Z"}, "1667383200000", "2022-11-02T11:00:00Z", "11:59:00"),
        ({"sent_at": "2022-11-02T10:00:00Z"}, "", "2022-11-02T11:00:00Z", "11:59:00"),
        ({"sentAt": "2022-11-02T10:00:00Z"}, "", "", "09:59:00"),
        ({"sent_at": "2022-11-02T10:00:00Z", "properties": {"$ignore_sent_at": True}}, "", "", "09:59:00"),
        ({"timestamp": None, "offset": 60_000}, "1667383200000", "", "11:59:00"),
        ({"timestamp": None}, "1667383200000", "", "12:00:00"),
        ({"timestamp": "2022-11-02T11:00:00Z"}, "1667383200000", "", "13:00:00"),
    ],
)
def test_clients_clock_is_corrected(members: dict[str, Any], query: str, form: str, time: str) -> None:
    event = {"event": "visit", "distinct_id": "ann", "timestamp": "2022-11-02T09:59:00Z", **members}
    envelope = Envelope(query_sent_at=query, form_sent_at=form)

    [captured] = decode_batch(json.dumps(event).encode(), NOW, envelope).events

    assert from_microseconds(captured.time).isoformat() == f"2022-11-02T{time}+00:00"


@pytest.mark.parametrize("sent_at", ["then", "9" * 18, "9" * 30, "-5", "1e9", "٤٢"])
def test_moment_of_sending_that_cannot_be_read_refuses_the_request(sent_at: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        decode_batch(b'{"event": "visit", "distinct_id": "ann"}', NOW, Envelope(query_sent_at=sent_at))

    assert refusal.value.detail.startswith("Malformed request data, invalid sent at: ")


def test_person_properties_beside_the_event_are_folded_into_its_properties() -> None:
    beside = {"$set": {"a": 3}, "$set_once": {"c": 4}, "$unset": ["d"]}
    event = decode_one(properties={"$set": {"a": 1, "b": 2}}, **beside)

    assert json.loads(event.properties) == {"$set": {"a": 3, "b": 2}, "$set_once": {"c": 4}, "$unset": ["d"]}
    changes: object = (event.set, event.set_once, event.unset)
    assert changes == ({"a": 3, "b": 2}, {"c": 4}, {"d"})


@pytest.mark.parametrize(
    ("body", "properties"),
    [
        (b'{"event":"v","distinct_id":"a","properties":{"x":NaN,"y":-Infinity}}', {"x": None, "y": None}),
        (rb'{"event":"v","distinct_id":"a","properties":{"x":"\ud800"}}', {"x": "\N{REPLACEMENT CHARACTER}"}),
        (rb'{"event":"v","distinct_id":"a","properties":{"x":"\ud83d\ude00"}}', {"x": "😀"}),
        (b'{"event":"v","distinct_id":"a","properties":{"x":"\xed\xa0\xbd\xed\xb8\x80"}}', {"x": "😀"}),
        (b'{"event":"v","distinct_id":"a","properties":{"x":"\xff"}}', {"x": "\N{REPLACEMENT CHARACTER}"}),
        (b'{"event":"v","distinct_id":"a","properties":{"$set":{"x":1e400}}}', {"$set": {"x": None}}),
        (b'{"event":"v","distinct_id":"a","properties":null}', {}),
        (b'{"event":"v","distinct_id":"a"}', {}),
    ],
)
def test_lenient_json_is_stored(body: bytes, properties: object) -> None:
    assert json.loads(decode(body)[0].properties) == properties


def test_properties_stay_the_text_that_was_sent() -> None:
    text = '{"amount": 1.50,  "big": 12345678901234567890123, "dup": 1, "dup": 2}'
    [event] = decode(f'{{"event":"v","distinct_id":"a","properties":{text}}}'.encode())

    assert event.properties == text


@pytest.mark.parametrize("name", [None, "", False, 0, [], {}])
def test_event_with_an_empty_name_is_dropped_and_the_others_are_stored(name: object) -> None:
    [event] = decode({"batch": [{"event": name, "distinct_id": "a"}, {"event": "v", "distinct_id": "a"}]})

    assert event.name == "v"


def test_uuid_is_kept_and_a_missing_one_is_made() -> None:
    assert decode_one(uuid="00000000-0000-0000-0000-000000000007").uuid == UUID(int=7)
    assert decode_one(uuid="").uuid != decode_one().uuid


NO_NAME = 'Invalid payload: All events must have the event name field "event"!'
NO_DISTINCT_ID = 'Invalid payload: All events must have the event field "distinct_id"!'
BLANK_DISTINCT_ID = 'Invalid payload: Event field "distinct_id" should not be blank!'


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        ({"distinct_id": "a"}, NO_NAME),
        ({"batch": []}, NO_NAME),
        ([], "Invalid payload: the request holds no event."),
        ({"event": "v"}, NO_DISTINCT_ID),
        ({"event": "v", "distinct_id": None}, BLANK_DISTINCT_ID),
        ({"event": "v", "distinct_id": ""}, BLANK_DISTINCT_ID),
        ({"event": "v", "distinct_id": 0}, BLANK_DISTINCT_ID),
        (
            {"event": "$snapshot", "distinct_id": "a"},
            'Invalid payload: $snapshot events must contain property "$snapshot_data"!',
        ),
        ({"event": "v", "distinct_id": "a", "uuid": "7"}, 'Invalid payload: Event field "uuid" is not a valid UUID!'),
        (
            {"event": "v", "distinct_id": "a", "properties": "text"},
            "Invalid payload: Properties must be a JSON object, received str!",
        ),
        (b'{"event":', "Malformed request data: Invalid JSON: Expecting value: line 1 column 10 (char 9)"),
        (
            {"event": "v", "distinct_id": "a", "sent_at": "then"},
            "Malformed request data, invalid sent at: 'then' is not an ISO 8601 date and time",
        ),
    ],
)
def test_bad_event_refuses_the_request(document: object, detail: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        decode(document)

    assert (refusal.value.code, refusal.value.detail) == ("invalid_payload", detail)


@pytest.mark.parametrize(
    "body", [b"7", b'"text"', b"[7]", b"null", b"[" * 100_000, b"1" * 5000 + b"x", b'{"batch": 7}', b"\x00"]
)
def test_other_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        decode(body)

    assert refusal.value.code == "invalid_payload"


def test_event_without_a_uuid_gets_one_that_begins_with_the_time() -> None:
    first, second = (decode_one().uuid for _ in range(2))

    assert (first.version, first.variant, first.int >> 80) == (7, "specified in RFC 4122", NOW.timestamp() * 1000)
    assert first != second
