"""Requests of SDKs of all versions: every path with every encoding and every shape of body."""

import base64
import contextlib
import gzip
import itertools
import json
import os
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sdk.lz_encoding import compress
from tests.support.examples import examples
from tests.support.programs import EVERYTHING
from tests.support.recorded import CAPTURE_REQUESTS, TOKEN, Document, events_of
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

PATHS = ("/batch", "/capture", "/e", "/i/v0/e", "/track", "/engage", "/i/v0/ai/batch")
ADDRESSES = [*PATHS, *(f"{path}/" for path in PATHS)]
WHO = "Zoë 🦔 ???"  # needs more than ASCII, and a plus in base64

Request = dict[str, Any]  # arguments of httpx


def posted(content: bytes, content_type: str | None = None, **headers: str) -> Request:
    named = {"Content-Type": content_type} if content_type else {}
    return {"method": "POST", "content": content, "headers": {**named, **headers}}


def armored(text: bytes) -> str:
    return base64.b64encode(text).decode()


PLAIN = "text/plain"
JSON = "application/json"
ENCODINGS: dict[str, Callable[[bytes], Request]] = {
    "JSON": lambda text: posted(text, JSON),
    "JSON called text": lambda text: posted(text, "text/plain;charset=UTF-8"),
    "JSON called nothing": posted,
    "JSON called a form": lambda text: posted(text, "application/x-www-form-urlencoded"),
    "surrogate halves, escaped": lambda text: posted(json.dumps(json.loads(text)).encode(), JSON),
    "surrogate halves, encoded": lambda text: posted(
        text.replace("🦔".encode(), "\ud83e\udd94".encode("utf-8", "surrogatepass")), JSON
    ),
    "base64": lambda text: posted(armored(text).encode(), PLAIN),
    "form, JSON": lambda text: {"method": "POST", "data": {"data": text.decode()}},
    "form, base64": lambda text: {"method": "POST", "data": {"data": armored(text), "compression": "base64"}},
    "form, base64 with blanks": lambda text: posted(
        f"data={armored(text).rstrip('=')}".encode(), "application/x-www-form-urlencoded"
    ),
    "form, base64 of gzip": lambda text: {"method": "POST", "data": {"data": armored(gzip.compress(text))}},
    "form, lz64": lambda text: {"method": "POST", "data": {"data": compress(text.decode()), "compression": "lz64"}},
    "multipart": lambda text: {"method": "POST", "files": {"data": (None, armored(text))}},
    "gzip by header": lambda text: posted(gzip.compress(text), JSON, **{"Content-Encoding": "gzip"}),
    "gzip by query": lambda text: posted(gzip.compress(text), PLAIN) | {"params": {"compression": "gzip-js"}},
    "gzip by header and query": lambda text: (
        posted(gzip.compress(text), JSON, **{"Content-Encoding": "gzip"}) | {"params": {"compression": "gzip"}}
    ),
    "gzip by neither": lambda text: posted(gzip.compress(text), PLAIN),
    "gzip that a proxy took off": lambda text: posted(text, JSON, **{"Content-Encoding": "gzip"}),
    "lz64 by query": lambda text: posted(compress(text.decode()).encode(), PLAIN) | {"params": {"compression": "lz64"}},
    "GET, JSON": lambda text: {"method": "GET", "params": {"data": text.decode()}},
    "GET, base64": lambda text: {"method": "GET", "params": {"data": armored(text), "compression": "base64"}},
    "HEAD": lambda text: {"method": "HEAD", "params": {"data": armored(text)}},
}


def recorded(client: str, number: int) -> Callable[[str, dict[str, Any]], Document]:
    """Return a shape: the first event of a client's request, with another name and distinct id."""
    requests = [request for request in CAPTURE_REQUESTS if request.client == client]
    text = json.dumps(requests[number].document)

    def fill(token: str, one: dict[str, Any]) -> Document:
        document: Document = json.loads(text.replace(TOKEN, token))
        events = events_of(document)
        del events[1:]
        events[0].pop("uuid", None)  # it is sent many times and each time as another event
        events[0].get("properties", {}).pop("$insert_id", None)
        owner = events[0] if "distinct_id" in events[0] else events[0]["properties"]
        events[0]["event"], owner["distinct_id"] = one["event"], one["distinct_id"]
        return document

    return fill


SHAPES: dict[str, Callable[[str, dict[str, Any]], Document]] = {
    "one event": lambda token, one: {**one, "api_key": token},
    "one event of an old browser": recorded("posthog-js-1.38.0", 0),
    "a list of an old browser": recorded("posthog-js-1.38.0", 2),
    "an envelope of a browser": recorded("posthog-js-1.449.2", 0),
    "an envelope of an old server": recorded("posthog-python-2.2.0", 0),
    "an envelope of a server": recorded("posthog-node-5.70.0", 0),
}


def requests_in(encoding: str) -> list[tuple[str, str]]:
    """Return the addresses and shapes to try: all, or such that every two of address, shape and encoding meet."""
    if os.environ.get(EVERYTHING):
        return list(itertools.product(ADDRESSES, SHAPES))
    turned = itertools.islice(itertools.cycle(SHAPES), list(ENCODINGS).index(encoding), None)
    return list(zip(ADDRESSES, turned, strict=False))


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_every_address_takes_every_shape(service: Service, encoding: str) -> None:
    sent = requests_in(encoding)
    for number, (address, shape) in enumerate(sent):
        document = SHAPES[shape](service.token, {"event": f"{number}", "distinct_id": WHO})
        request = ENCODINGS[encoding](json.dumps(document, ensure_ascii=False).encode())
        response = await service.client.request(url=address, **request)
        assert response.status_code == 200, (address, shape, response.text)
        assert encoding == "HEAD" or response.text == '{"status":1}'

    page = await service.read("/events/", limit=1000)
    stored = [(one["event"], one["distinct_id"]) for one in page["results"]]
    # An object on /engage is an identification, whatever it calls itself.
    expected = [
        ("$identify" if "engage" in address and shape.startswith("one") else f"{number}", WHO)
        for number, (address, shape) in enumerate(sent)
    ]
    assert sorted(stored) == sorted(expected)


async def test_beacon_is_answered_without_a_body(service: Service) -> None:
    one = {**event("visit", "ann"), "api_key": service.token}

    for address in ADDRESSES:
        response = await service.client.post(address, json=one, params={"beacon": "1"})
        assert (response.status_code, response.content) == (204, b""), address


@pytest.mark.parametrize("address", ["/s", "/s/"])
async def test_recordings_are_acknowledged_and_dropped(service: Service, address: str) -> None:
    response = await service.client.post(address, content=gzip.compress(b"whatever"))
    await service.capture(event("$snapshot", "ann", properties={"$snapshot_data": {"a": 1}}))

    assert (response.status_code, response.json()) == (200, {"status": 1})
    assert (await service.read("/events/"))["results"] == []


async def test_engage_changes_its_person(service: Service) -> None:
    for members in ({"$set": {"plan": "pro", "old": 1}}, {"$set_once": {"plan": "x", "first": 1}}, {"$unset": ["old"]}):
        body = {"$token": service.token, "$distinct_id": "ann", **members}
        response = await service.client.post("/engage/", data={"data": armored(json.dumps(body).encode())})
        assert response.status_code == 200

    [ann] = (await service.read("/persons/"))["results"]
    properties = {name: value for name, value in ann["properties"].items() if name != "$creator_event_uuid"}
    assert properties == {"plan": "pro", "first": 1}


async def test_prefix_that_sounds_like_engage_says_nothing_of_events(service: Service, application: FastAPI) -> None:
    one = {**event("visit", "ann"), "api_key": service.token}
    transport = httpx.ASGITransport(app=application, root_path="/engagement")

    async with httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as client:
        for address in ("/engagement/e/", "/engagement/engage"):
            assert (await client.post(address, json=one)).status_code == 200

    names = [stored["event"] for stored in (await service.read("/events/"))["results"]]
    assert names == ["$identify", "visit"]


@pytest.mark.parametrize(
    ("method", "query", "form", "members"),
    [
        ("GET", {"token": "RIGHT", "api_key": "wrong"}, {}, {"api_key": "wrong"}),
        ("GET", {"api_key": "RIGHT"}, {}, {"token": "wrong"}),
        ("POST", {"token": "wrong"}, {"api_key": "RIGHT", "token": "wrong"}, {"api_key": "wrong"}),
        ("POST", {}, {"api_key": "", "token": "RIGHT"}, {"api_key": "wrong"}),
        ("POST", {}, {"api_key": ""}, {"$token": "RIGHT", "token": "wrong"}),
        ("POST", {}, {"api_key": ""}, {"token": " RIGHT\n", "api_key": "wrong"}),
        ("POST", {}, {"api_key": ""}, {"token": "", "api_key": "RIGHT", "properties": {"token": "wrong"}}),
        ("POST", {"token": "wrong"}, {"api_key": ""}, {"properties": {"token": "RIGHT"}}),
    ],
)
async def test_first_token_counts(
    service: Service, method: str, query: dict[str, str], form: dict[str, str], members: dict[str, Any]
) -> None:
    def right(document: object) -> Any:
        return json.loads(json.dumps(document).replace("RIGHT", service.token))

    text = json.dumps({"event": "visit", "distinct_id": "ann", **right(members)})
    fields = {**right(form), "data": text} if method == "POST" else None
    parameters = right(query) if method == "POST" else {**right(query), "data": text}

    response = await service.client.request(method, "/capture/", params=parameters, data=fields)

    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("project_id", "status", "code", "attr"),
    [
        ("OWN", 200, None, None),
        ("999", 401, "invalid_personal_api_key", None),
        ("one", 400, "invalid_project", "project_id"),
        ("", 401, "invalid_api_key", None),
    ],
)
async def test_members_key_beside_the_projects_number_does_for_a_token(
    service: Service, project_id: str, status: int, code: str | None, attr: str | None
) -> None:
    named = project_id.replace("OWN", str(service.project_id))
    body = {"api_key": service.key, "project_id": named, "batch": [event("visit", "ann")]}

    response = await service.client.post("/batch/", json=body)

    assert response.status_code == status, response.text
    if status != 200:
        assert (response.json()["code"], response.json()["attr"]) == (code, attr)


async def test_missing_key_with_project_id_is_refused(service: Service) -> None:
    body = {"api_key": "phx_other", "project_id": service.project_id, "batch": [event("visit", "ann")]}

    response = await service.client.post("/batch/", json=body)

    assert (response.status_code, response.json()["detail"]) == (401, "Invalid Personal API key.")


async def test_refused_method_names_allowed_methods(client: httpx.AsyncClient) -> None:
    for method, address in itertools.product(("PUT", "PATCH", "DELETE"), ADDRESSES):
        response = await client.request(method, address)
        assert (response.status_code, response.headers["Allow"]) == (405, "GET, POST, HEAD, OPTIONS"), address


async def test_documentation_names_the_canonical_addresses_only(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    documented = {(path, method) for path, methods in paths.items() for method in methods if "/api/" not in path}
    assert {("/batch/", "post"), ("/capture/", "post")} <= documented
    assert not {path for path, _ in documented} & {"/e/", "/i/v0/e/", "/track/", "/engage/", "/s/"}


CONTENT_TYPES = (JSON, PLAIN, "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/x", "")
STARTS = (
    b"",
    b"\x1f\x8b\x08",
    b"{",
    b'[{"event":',
    b"data=",
    b"--x\r\nContent-Disposition: form-data; name=data\r\n\r\n",
)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    address=st.sampled_from([*ADDRESSES, "/s/"]),
    method=st.sampled_from(["GET", "POST", "PUT", "OPTIONS"]),
    content_type=st.sampled_from(CONTENT_TYPES),
    content_encoding=st.sampled_from(["", "gzip", "br", "\xff"]),
    compression=st.sampled_from(["", "gzip", "gzip-js", "lz64", "base64", "\0"]),
    start=st.sampled_from(STARTS),
    rest=st.binary(max_size=200),
    query=st.dictionaries(st.sampled_from(["_", "data", "token", "beacon"]), st.text(max_size=20)),
)
async def test_hostile_bytes_cause_no_server_error(
    client: httpx.AsyncClient,
    address: str,
    method: str,
    content_type: str,
    content_encoding: str,
    compression: str,
    start: bytes,
    rest: bytes,
    query: dict[str, str],
) -> None:
    with contextlib.suppress(UnicodeEncodeError):  # httpx sends no lone surrogates
        response = await client.request(
            method,
            address,
            content=start + rest,
            headers={b"Content-Type": content_type.encode(), b"Content-Encoding": content_encoding.encode("latin-1")},
            params={**query, "compression": compression},
        )
        assert response.status_code < 500


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(
        ["$identify", "$create_alias", "2022-11-02T10:00:00Z", "9999-12-31T23:59:59+23:59", "\0", "\ud800"]
    ),
)


def members(values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    names = (
        "event distinct_id $distinct_id properties timestamp offset uuid $set $set_once $unset sent_at project_id batch"
    )
    more = "alias $anon_distinct_id $ignore_sent_at $snapshot_data api_key"
    return st.dictionaries(st.sampled_from(f"{names} {more}".split()), values, max_size=6)


documents = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | members(inner), max_leaves=12)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=members(documents), address=st.sampled_from(ADDRESSES))
async def test_hostile_document_causes_no_server_error(
    service: Service, document: dict[str, Any], address: str
) -> None:
    body = json.dumps({"event": "visit", "distinct_id": "ann", "$token": service.token, **document})

    response = await service.client.post(address, content=body)

    assert response.status_code in (200, 400, 401), response.text
    assert (await service.get("/events/")).status_code == 200
    assert (await service.get("/persons/")).status_code == 200
