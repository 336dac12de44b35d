"""Recorded requests of clients, at every path that takes events (with a slash; test_sdk_requests has both forms)."""

import datetime as dt
from typing import Any
from urllib.parse import parse_qs

import pytest

from app.db.database import Database
from tests.events.capture.test_sdk_requests import PATHS
from tests.support.recorded import CAPTURE_REQUESTS, RecordedRequest, events_of, under_recorded_token
from tests.support.service import Service

pytestmark = [pytest.mark.one_database, pytest.mark.own_database]

Json = dict[str, Any]


@pytest.mark.parametrize("path", PATHS)
async def test_every_event_is_stored_as_its_client_meant_it(service: Service, database: Database, path: str) -> None:
    shop = await under_recorded_token(service, database)
    expected = []
    for request in CAPTURE_REQUESTS:
        began = dt.datetime.now(dt.UTC)
        response = await request.replay(shop.client, f"{path}/")
        ended = dt.datetime.now(dt.UTC)
        assert (response.status_code, response.json()) == (200, {"status": 1}), response.text
        assert response.headers["Access-Control-Allow-Origin"] == "http://shop.test"
        is_renamed = path == "/engage" and "event" in request.document
        expected += [
            (
                stored_of(event, is_renamed=is_renamed),
                event.get("uuid"),
                moment(request, event, began),
                moment(request, event, ended),
            )
            for event in events_of(request.document)
        ]

    page = await shop.read("/events/", limit=1000)

    stored = page["results"]
    assert len(stored) == len(expected) > 50
    for event, uuid, earliest, latest in expected:
        [found] = [one for one in stored if {name: one[name] for name in event} == event]
        assert earliest <= dt.datetime.fromisoformat(found["timestamp"]) <= latest
        assert uuid in {None, found["id"]}
    persons = (await shop.read("/persons/"))["results"]
    plans = {user: person["properties"]["plan"] for person in persons for user in person["distinct_ids"]}
    assert (plans["distinct_id_0"], plans["distinct_id_1"]) == ("pro", "pro")
    anonymous = {event["properties"]["distinct_id"] for event, *_ in expected if event["event"] == "$pageview"}
    assert anonymous <= plans.keys()  # the visitors became the identified persons


def stored_of(event: Json, *, is_renamed: bool) -> Json:
    properties = {"$ip": "127.0.0.1", **event.get("properties", {})}
    distinct_id = properties.get("distinct_id", event.get("distinct_id"))
    for name in ("$set", "$set_once"):
        if name in event:
            properties[name] = {**properties.get(name, {}), **event[name]}
    return {
        "event": "$identify" if is_renamed else event["event"],
        "distinct_id": distinct_id,
        "properties": properties,
    }


def moment(request: RecordedRequest, event: Json, now: dt.datetime) -> dt.datetime:
    """Return when an event happened, by our clock, if its request arrived at ``now``."""
    if "offset" in event:
        return now - dt.timedelta(milliseconds=event["offset"])
    stated = dt.datetime.fromisoformat(event["timestamp"])
    sent_at = sent_at_of(request)
    return stated if sent_at is None else now + (stated - sent_at)


def sent_at_of(request: RecordedRequest) -> dt.datetime | None:
    in_query = parse_qs(request.query).get("_")
    if in_query is not None:
        return dt.datetime.fromtimestamp(int(in_query[0]) / 1000, dt.UTC)
    document = request.document
    assert isinstance(document, dict)
    return dt.datetime.fromisoformat(document["sent_at"]) if "sent_at" in document else None
