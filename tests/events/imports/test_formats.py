"""Lines as other systems export them, and the events that they become: each line is written by its documentation."""

import datetime as dt
import json
from typing import Any
from uuid import UUID

import pytest

from app.common.timestamps import to_microseconds
from app.events.capture.decoding.clock import RequestClock
from app.events.imports.formats import Format, recognize
from app.events.imports.records import EventReader, ImportedEvent, LineRefused, PersonRecord

CLOCK = RequestClock(dt.datetime(2026, 11, 30, tzinfo=dt.UTC), None)

POSTHOG = {
    "uuid": "01944a68-1b1b-7c6b-8f8a-0d6a3f2b9c11",
    "event": "$feature_flag_called",
    "distinct_id": "ann",
    "person_id": "018e0000-0000-0000-0000-000000000001",
    "properties": {"$feature_flag": "checkout", "$feature_flag_response": "test"},
    "person_properties": {"plan": "pro"},
    "elements_chain": "",
    "timestamp": "2025-01-09 10:30:00.123000+00:00",
    "created_at": "2025-01-09 10:30:02.000000+00:00",
    "_inserted_at": "2025-01-09 10:30:05.000000+00:00",
}
AMPLITUDE = {
    "$insert_id": "9f1e",
    "amplitude_id": 100000001,
    "event_type": "[Amplitude] Page Viewed",
    "event_time": "2025-01-09 10:30:00.123000",
    "client_event_time": "2025-01-09 10:29:59.000000",
    "server_received_time": "2025-01-09 10:30:02.000000",
    "user_id": "ann",
    "device_id": "device-1",
    "session_id": 1736418600000,
    "uuid": "3c6a2b8e-ce7c-11ef-9b1c-0242ac120002",
    "event_properties": {"[Amplitude] Page URL": "https://shop.example/", "amount": 3},
    "user_properties": {"initial_utm_source": "EMPTY", "initial_referrer": "https://a.example/", "plan": "pro"},
    "groups": {"company": ["Acme"]},
    "country": "Netherlands",
    "os_name": "Firefox",
}
MIXPANEL = {
    "event": "$mp_web_page_view",
    "properties": {
        "time": 1736418600,
        "distinct_id": "ann",
        "$insert_id": "abc123",
        "$device_id": "device-1",
        "$user_id": "ann",
        "mp_country_code": "NL",
        "$city": "Utrecht",
    },
}
SEGMENT = {
    "type": "track",
    "event": "purchase",
    "messageId": "ajs-1",
    "userId": "ann",
    "anonymousId": "anonymous-1",
    "properties": {"amount": 3},
    "context": {"ip": "203.0.113.7", "library": {"name": "analytics.js"}, "page": {"url": "https://shop.example/"}},
    "timestamp": "2025-01-09T10:30:00.123Z",
    "originalTimestamp": "2025-01-09T12:00:00.000Z",
    "sentAt": "2025-01-09T12:00:01.000Z",
    "receivedAt": "2025-01-09T10:30:02.000Z",
}


def read(line: object, chosen: Format | None = None, *, time_offset: int = 0) -> ImportedEvent | PersonRecord | None:
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    recognized = recognize(text, chosen)
    assert recognized is not None
    marks = recognized.format != "abacus"
    return EventReader(recognized.reader(time_offset), CLOCK, 0, marks=marks).read(text)


def event_of(line: object, **options: Any) -> ImportedEvent:
    found = read(line, **options)
    assert isinstance(found, ImportedEvent)
    return found


def properties_of(one: ImportedEvent) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(one.event.properties)
    assert found.pop("historical_migration") is True
    return found


def at(text: str) -> int:
    return to_microseconds(dt.datetime.fromisoformat(text))


def test_posthog_keeps_uuid_times_and_person() -> None:
    one = event_of(POSTHOG)

    assert one.event.uuid == UUID(str(POSTHOG["uuid"]))
    assert (one.event.time, one.event.received_at) == (
        at("2025-01-09T10:30:00.123Z"),
        at("2025-01-09T10:30:02Z"),
    )
    assert (one.person, one.event.distinct_id) == (POSTHOG["person_id"], "ann")
    assert properties_of(one) == POSTHOG["properties"]


def test_posthog_properties_may_be_a_text_and_elements_stand_beside_them() -> None:
    of_parquet = {**POSTHOG, "properties": json.dumps(POSTHOG["properties"]), "elements_chain": 'a:text="Buy"'}

    assert properties_of(event_of(of_parquet)) == {"$elements_chain": 'a:text="Buy"', **POSTHOG["properties"]}  # type: ignore[dict-item]


def test_posthog_person_has_versions() -> None:
    person = read(
        {
            "team_id": 1,
            "distinct_id": "ann",
            "person_id": "018e",
            "properties": {"plan": "pro"},
            "person_distinct_id_version": 2,
            "person_version": 7,
            "created_at": "2025-01-01 00:00:00",
            "is_deleted": False,
        }
    )

    assert isinstance(person, PersonRecord)
    assert (person.distinct_ids, person.id_version, person.version, person.is_deleted) == (["ann"], 2, 7, False)


def test_amplitude_times_are_utc_and_the_device_is_the_user() -> None:
    one = event_of(AMPLITUDE)

    assert one.event.uuid == UUID(str(AMPLITUDE["uuid"]))
    assert (one.event.name, one.event.time) == ("$pageview", at("2025-01-09T10:30:00.123Z"))
    assert (one.event.distinct_id, one.anonymous_id) == ("ann", "device-1")
    assert one.event.set["plan"] == "pro"
    assert one.event.set_once["$initial_referrer"] == "https://a.example/"
    assert "$initial_utm_source" not in one.event.set_once
    properties = properties_of(one)
    assert (properties["$current_url"], properties["amount"]) == ("https://shop.example/", 3)
    assert properties["$groups"] == {"company": "Acme"}


def test_amplitude_session_starts_are_left_out() -> None:
    assert read({**AMPLITUDE, "event_type": "session_start"}) is None


def test_amplitude_without_user_is_the_device() -> None:
    one = event_of({**AMPLITUDE, "user_id": None})

    assert (one.event.distinct_id, one.anonymous_id) == ("device-1", None)


@pytest.mark.parametrize("time", [1736418600, 1736418600000])
def test_mixpanel_times_are_seconds_or_milliseconds(time: int) -> None:
    one = event_of({**MIXPANEL, "properties": {**MIXPANEL["properties"], "time": time}})  # type: ignore[dict-item]

    assert (one.event.name, one.event.time) == ("$pageview", at("2025-01-09T10:30:00Z"))
    assert (one.event.distinct_id, one.anonymous_id) == ("ann", "$device:device-1")
    assert properties_of(one)["$geoip_city_name"] == "Utrecht"


def test_mixpanel_uuids_come_from_the_insert_id() -> None:
    first, other = event_of(MIXPANEL), event_of({**MIXPANEL, "properties": {**MIXPANEL["properties"], "extra": 1}})  # type: ignore[dict-item]

    assert first.event.uuid == other.event.uuid
    later = {**MIXPANEL, "properties": {**MIXPANEL["properties"], "time": 1736418601}}  # type: ignore[dict-item]
    assert event_of(later).event.uuid != first.event.uuid


def test_mixpanel_times_of_a_zone_are_moved() -> None:
    assert event_of(MIXPANEL, time_offset=-3600).event.time == at("2025-01-09T09:30:00Z")


def test_mixpanel_devices_are_known_by_the_id_before() -> None:
    properties = {"time": 1736418600, "distinct_id": "$device:d1", "$distinct_id_before_identity": "cookie-1"}

    assert event_of({"event": "open", "properties": properties}).event.distinct_id == "cookie-1"


def test_segment_times_are_those_that_segment_corrected() -> None:
    one = event_of(SEGMENT)

    assert (one.event.name, one.event.time) == ("purchase", at("2025-01-09T10:30:00.123Z"))
    assert (one.event.distinct_id, one.anonymous_id) == ("ann", "anonymous-1")
    assert properties_of(one) == {
        "amount": 3,
        "$ip": "203.0.113.7",
        "$lib": "analytics.js",
        "$current_url": "https://shop.example/",
    }
    assert event_of({**SEGMENT, "properties": {}}).event.uuid == one.event.uuid


def test_segment_calls_become_the_events_of_sdks() -> None:
    identify = event_of({**SEGMENT, "type": "identify", "traits": {"plan": "pro"}})
    alias = event_of({**SEGMENT, "type": "alias", "previousId": "before"})
    group = event_of({**SEGMENT, "type": "group", "groupId": "acme", "traits": {"size": 3}})
    page = event_of({**SEGMENT, "type": "page", "properties": {"path": "/cart"}})

    assert (identify.event.name, identify.event.alias, identify.event.set["plan"]) == (
        "$identify",
        "anonymous-1",
        "pro",
    )
    assert (alias.event.name, alias.event.alias) == ("$create_alias", "before")
    assert group.event.name == "$groupidentify"
    described = properties_of(group)
    assert (described["$group_key"], described["$group_set"]) == ("acme", {"size": 3})
    assert (page.event.name, properties_of(page)["$pathname"]) == ("$pageview", "/cart")


def test_a_line_without_uuid_is_known_by_its_content() -> None:
    line = {name: value for name, value in POSTHOG.items() if name != "uuid"}
    turned = dict(reversed(line.items()))

    assert event_of(line).event.uuid == event_of(turned).event.uuid
    assert event_of(line).event.uuid != event_of({**line, "distinct_id": "bob"}).event.uuid


def test_no_time_is_corrected() -> None:
    assert event_of({**POSTHOG, "timestamp": "2099-01-01T00:00:00Z"}).event.time == at("2099-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({**POSTHOG, "timestamp": "yesterday"}, "a time that cannot be read"),
        ({**POSTHOG, "timestamp": None}, "states no time"),
        ({**POSTHOG, "distinct_id": ""}, "distinct_id"),
        ({**POSTHOG, "uuid": "1"}, "uuid"),
        ({**POSTHOG, "properties": [1]}, "object"),
        ({**AMPLITUDE, "user_id": None, "device_id": None}, "neither user_id nor device_id"),
        ({**SEGMENT, "userId": None, "anonymousId": None}, "neither userId nor anonymousId"),
        ({**SEGMENT, "event": None}, "names no event"),
        ({**POSTHOG, "event": None}, "names no event"),
        ({**POSTHOG, "event": ""}, "names no event"),
        ({**MIXPANEL, "event": ""}, "names no event"),
        (
            {name: value for name, value in {"abacus": "event", **POSTHOG}.items() if name != "event"},
            "the event name field",
        ),
        (json.dumps(POSTHOG).encode("utf-8").replace(b"ann", b"\xff"), "not UTF-8"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_the_reason(line: object, reason: str) -> None:
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    recognized = recognize(json.dumps(POSTHOG).encode() if isinstance(line, bytes) else text, None)
    assert recognized is not None

    with pytest.raises(LineRefused, match=reason):
        EventReader(recognized.reader(0), CLOCK, 0, marks=True).read(text)


def test_events_before_what_was_removed_are_refused() -> None:
    recognized = recognize(json.dumps(POSTHOG).encode(), None)
    assert recognized is not None
    reader = EventReader(recognized.reader(0), CLOCK, at("2025-02-01T00:00:00Z"), marks=True)

    with pytest.raises(LineRefused, match="were removed"):
        reader.read(json.dumps(POSTHOG).encode())


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b"event,time", b"\xff\xfe{", b'{"abacus":[]}'])
def test_other_files_are_of_no_format(line: bytes) -> None:
    assert recognize(line, None) is None
