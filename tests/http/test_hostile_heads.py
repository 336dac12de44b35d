"""Heads and bodies that are costly to parse hold the event loop no longer than others do, whoever sends them."""

import gzip

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from tests.support.loop_monitor import monitor
from tests.support.service import Service, session_of

pytestmark = pytest.mark.one_database

LARGE = 60_000  # bytes: a head has at most 64 KiB
FORM = "/experiments/sign-in/"
HELD_MS = 100  # the first of these took 3,500, the least of the others 140


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", "/api/projects/", {"Cookie": 'a="' + '\\"' * (LARGE // 2) + '"'}, b""),
        ("GET", "/experiments/", {"Cookie": 'abacus_session="' + '\\"' * (LARGE // 2) + '"'}, b""),
        ("POST", FORM, {"Content-Type": 'multipart/form-data; boundary="' + ";" * LARGE}, b"a=b"),
        ("POST", "/e/", {"Content-Type": 'multipart/form-data; boundary="' + ";" * LARGE}, b"a=b"),
        ("POST", "/e/", {"Content-Encoding": "gzip"}, gzip.compress(b" " * (20 << 20))),
    ],
    ids=["a cookie of others", "the own cookie", "type of a form", "type of an event", "blanks"],
)
async def test_request_that_is_costly_to_parse_does_not_hold_the_loop(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    await client.request(method, path)
    with monitor() as held:
        response = await client.request(method, path, headers=headers, content=body)
    assert response.status_code < 500
    assert held.longest_ms < HELD_MS


async def test_document_of_the_api_is_encoded_once(client: httpx.AsyncClient) -> None:
    first = await client.get("/openapi.json")
    assert first.json()["info"]["title"] == "Abacus"
    with monitor() as held:
        assert (await client.get("/openapi.json")).content == first.content
    assert held.longest_ms < 20


async def test_own_cookie_is_found_among_those_of_others(service: Service) -> None:
    own = (await session_of(service.client, service.key))["Cookie"]
    cookies = ("abacus_session=old", 'theme="a\\"b"; abacus_sessions=1', f"{own} ; last=1")
    headers = [("Cookie", line) for line in cookies]
    assert (await service.client.get(f"/experiments/{service.project_id}/", headers=headers)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
@pytest.mark.parametrize("path", ["*", "", "//", "/api", "/api/", "/array//config", "/\0", "/experiments/\0/"])
async def test_target_of_any_form_is_no_server_error(application: FastAPI, method: str, path: str) -> None:
    statuses = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        statuses.append(message.get("status", 0))

    scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "query_string": b""}
    await application({**scope, "scheme": "http", "headers": [(b"host", b"localhost")]}, receive, send)
    assert statuses[0] in {200, 303, 307, 400, 401, 404, 405}
