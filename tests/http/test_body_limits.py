"""How much of a body is read, by whom it may be sent, and how long it may take."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI, Request

from app.common import limits
from app.common.body_budget import BodyBudget
from app.common.errors import ParseError, RequestTimeout
from app.http.request_body import read_bytes
from tests.support.service import FUNNEL, Service

pytestmark = pytest.mark.one_database

REQUIRED = {"name": "Checkout button", "feature_flag_key": "checkout", "filters": FUNNEL}
JSON = {"Content-Type": "application/json"}
LIMIT = limits.BODY_BYTES.value
KEY_LIMIT = limits.BODY_WITH_KEY_BYTES.value


async def send(service: Service, content: bytes) -> httpx.Response:
    return await service.request("POST", "/experiments/", content=content, headers=JSON)


async def test_body_may_have_as_many_bytes_as_the_limit(service: Service) -> None:
    body = json.dumps(REQUIRED).encode()

    assert (await send(service, body.ljust(LIMIT))).status_code == 201


class Pieces:
    """The body of a request, in pieces, and how many of them were asked for."""

    def __init__(self, piece: bytes, number: int) -> None:
        self._piece = piece
        self._number = number
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._number):
            self.sent += 1
            yield self._piece


@pytest.mark.parametrize("is_announced", [True, False])
async def test_larger_body_is_refused_without_reading_on(service: Service, *, is_announced: bool) -> None:
    body = Pieces(b" " * (LIMIT // 4), 40)
    headers = JSON | ({"Content-Length": str(10 * LIMIT)} if is_announced else {})

    response = await service.request("POST", "/experiments/", content=body, headers=headers)

    assert response.status_code == 413
    assert response.json() == {
        "type": "invalid_request",
        "code": "request_too_large",
        "detail": limits.BODY_BYTES.detail,
        "attr": None,
    }
    assert body.sent == (0 if is_announced else 5)


@pytest.mark.parametrize("surplus", [0, 1])
async def test_body_with_too_many_values_is_refused(service: Service, surplus: int) -> None:
    start = json.dumps(REQUIRED).encode()[:-1] + b', "ignored": ['
    counted = sum(start.count(one) for one in (b",", b"[", b"{"))

    response = await send(service, start + b"0," * (limits.BODY_VALUES.value - counted + surplus) + b"0]}")

    assert response.status_code == (413 if surplus else 201), response.text
    assert not surplus or response.json()["detail"] == limits.BODY_VALUES.detail


@pytest.mark.parametrize("surplus", [0, 1])
async def test_long_body_is_not_searched_for_a_key(service: Service, surplus: int) -> None:
    content = json.dumps({**REQUIRED, "personal_api_key": service.key}).encode()
    body = Pieces(content.ljust(KEY_LIMIT + surplus), 1)
    headers = {**JSON, "Content-Length": str(KEY_LIMIT + surplus)}

    response = await service.client.post(f"{service.project}/experiments/", content=body, headers=headers)

    assert (response.status_code, body.sent) == ((401, 0) if surplus else (201, 1))


async def test_body_of_unknown_size_is_not_read_on_in_search_of_a_key(service: Service) -> None:
    body = Pieces(b" " * KEY_LIMIT, 40)

    response = await service.client.post(f"{service.project}/experiments/", content=body, headers=JSON)

    assert (response.status_code, response.json()["code"], body.sent) == (401, "not_authenticated", 2)


async def test_large_body_may_follow_a_key_in_the_query(service: Service) -> None:
    content = json.dumps(REQUIRED).encode().ljust(KEY_LIMIT + 1)
    path = f"{service.project}/experiments/?personal_api_key={service.key}"

    response = await service.client.post(path, content=content, headers=JSON)

    assert response.status_code == 201, response.text


async def test_body_that_arrives_too_slowly_is_refused(
    built_application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece comes in time, but all of them would take days."""
    loop = asyncio.get_running_loop()
    waited = 0.0
    started = loop.time()
    monkeypatch.setattr(loop, "time", lambda: started + waited)

    async def receive() -> dict[str, object]:
        nonlocal waited
        waited += 0.9 * built_application.state.settings.body_timeout
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"{", "more_body": True}

    with pytest.raises(RequestTimeout):
        await read_bytes(Request({"type": "http", "method": "POST", "headers": [], "app": built_application}, receive))

    assert waited < 3 * built_application.state.settings.body_timeout


async def test_large_bodies_that_arrive_at_once_share_their_memory(
    service: Service, built_application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow clients fill what there is: the others wait, are served all the same, and the slow ones give way."""
    piece, room = 100_000, 400_000
    monkeypatch.setattr(built_application.state, "body_bytes", BodyBudget(room, 0.05, longest_wait=60, most_waiting=9))
    taken = 0
    stalled = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 8 * piece:
            taken += piece
            yield b" " * piece
        await stalled.wait()

    async def post(content: AsyncIterator[bytes] | bytes) -> int:
        return (await service.request("POST", "/experiments/", content=content, headers=JSON)).status_code

    held_back = [asyncio.create_task(post(slow())) for _ in range(6)]
    quick = [json.dumps({**REQUIRED, "feature_flag_key": f"quick-{n}"}).encode().ljust(5 * piece) for n in range(3)]

    assert await asyncio.gather(*map(post, quick)) == [201] * 3
    assert await asyncio.gather(*held_back) == [408] * 6


async def test_large_body_that_would_wait_beside_too_many_is_to_be_sent_again(
    service: Service, built_application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = BodyBudget(0, 60, longest_wait=60, most_waiting=0)
    monkeypatch.setattr(built_application.state, "body_bytes", budget)
    other = budget.begin(lambda: None)
    body = b" " * 100_000

    for response in (await send(service, body), await service.client.post("/batch/", content=body, headers=JSON)):
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert response.json()["detail"] == limits.BODIES_WAITING.detail
    other.end()
    assert (await send(service, body)).status_code == 400


async def test_client_that_disconnects_while_sending_is_not_a_server_error(built_application: FastAPI) -> None:
    messages: Iterator[dict[str, object]] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> dict[str, object]:
        return next(messages)

    with pytest.raises(ParseError, match=r"The request body ended early\."):
        await read_bytes(Request({"type": "http", "method": "POST", "headers": [], "app": built_application}, receive))
