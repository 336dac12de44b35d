"""The server itself bounds heads, connections and slow clients, and refuses with the body of every other error."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.operations import http_protocol
from app.operations.http_protocol import MAX_HEAD_BYTES, MAX_HEADERS, BoundedHttpProtocol, RefusalLog
from tests.support.ports import free_port

BIG_ANSWER = 64 * 1024 * 1024
MAX_CONNECTIONS = 10
START = b"GET / HTTP/1.1\r\nHost: abacus\r\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    message, received = {"more_body": scope["path"] != "/early"}, b""
    while message.get("more_body", False):
        message = dict(await receive())
        received += message.get("body", b"")
    body = received if scope["path"] == "/echo" else b"." * (BIG_ANSWER if scope["path"] == "/big" else 2)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def server() -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(
        application,
        port=free_port(),
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())  # without its handlers of signals, which are the test runner's
    await until(lambda: server.started)
    yield server
    server.should_exit = True
    await serving


@pytest.fixture
def port(server: uvicorn.Server) -> int:
    return server.config.port


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # the server has no event to wait for
            await asyncio.sleep(0.005)


async def exchange(port: int, *pieces: bytes) -> bytes:
    """Send pieces on one connection and return everything that comes until it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def code(answer: bytes) -> str:
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body.keys() == {"type", "code", "detail", "attr"}
    return str(body["code"])


def head(*headers: bytes) -> bytes:
    return START + b"".join(header + b"\r\n" for header in (b"Connection: close", *headers)) + b"\r\n"


@pytest.mark.parametrize("surplus", [0, 1])
async def test_server_refuses_head_with_too_many_headers(port: int, surplus: int) -> None:
    sent = head(*(b"X-%d: a" % number for number in range(MAX_HEADERS - 2 + surplus)))

    answer = await exchange(port, sent)

    assert status(answer) == (431 if surplus else 200)


@pytest.mark.parametrize("surplus", [0, 1])
async def test_server_refuses_head_with_too_many_bytes(port: int, surplus: int) -> None:
    rest = sum(map(len, (b"/", b"Host", b"abacus", b"Connection", b"close", b"X")))

    answer = await exchange(port, head(b"X: " + b"a" * (MAX_HEAD_BYTES - rest + surplus)))

    assert status(answer) == (431 if surplus else 200)
    assert not surplus or code(answer) == "request_header_fields_too_large"


@pytest.mark.parametrize(
    "unfinished",
    [
        pytest.param([b"GET /", *[b"a" * 60_000] * 20], id="URL"),
        pytest.param([START + b"X: ", *[b"a" * 60_000] * 20], id="header"),
        pytest.param(
            [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;", *[b"a" * 60_000] * 20], id="chunk"
        ),
        pytest.param(
            [
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: ",
                *[b"a" * 60_000] * 20,
            ],
            id="trailer",
        ),
    ],
)
async def test_server_closes_connection_whose_head_does_not_end(port: int, unfinished: list[bytes]) -> None:
    answer = await exchange(port, *unfinished)

    assert not answer or status(answer) == 431


async def test_server_reads_body_larger_than_a_head(port: int) -> None:
    body = b"a" * (10 * MAX_HEAD_BYTES)
    start = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)

    assert status(await exchange(port, start, body)) == 200


async def test_server_refuses_head_that_does_not_end_in_time(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.05)

    answer = await exchange(port, START)

    assert (status(answer), code(answer)) == (408, "request_timeout")


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n", START + b"\r\n\r\n"], ids=["nothing", "line end", "request and line end"]
)
async def test_server_closes_connection_that_begins_no_request(
    port: int, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.05)

    async with asyncio.timeout(30):  # far less than the time for which an answered connection is kept
        await exchange(port, sent)


async def test_new_connection_takes_the_place_of_the_one_that_waits_longest(port: int) -> None:
    waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
    for connection in waiting:  # so that each of them is known to be accepted, in this order
        await ask(connection)

    answer = await exchange(port, head())

    assert status(answer) == 200
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await waiting[0][0].readexactly(1)
    await ask(waiting[1])
    for _, writer in waiting:
        writer.close()


async def test_server_refuses_connection_while_all_others_are_answered(port: int) -> None:
    busy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
    for reader, writer in busy:
        writer.write(b"POST /begin HTTP/1.1\r\nHost: abacus\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        await reader.readuntil(b"100 Continue\r\n\r\n")  # the application waits for the body

    answer = await exchange(port)

    assert (status(answer), code(answer)) == (503, "service_unavailable")
    assert b"retry-after: 1" in answer
    for _, writer in busy:
        writer.close()


async def ask(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    reader, writer = connection
    writer.write(START + b"\r\n")
    await reader.readuntil(b"..")


async def test_server_aborts_connection_whose_client_does_not_read(
    server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "WRITE_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.config.port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
    writer.write(b"GET /big HTTP/1.1\r\nHost: abacus\r\n\r\n")
    await until(lambda: bool(server.server_state.connections))
    await until(lambda: not server.server_state.connections)
    writer.transport.resume_reading()  # type: ignore[attr-defined]

    received = 0
    try:
        while piece := await reader.read(1024 * 1024):
            received += len(piece)
    except ConnectionError:
        pass

    assert received < BIG_ANSWER
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_server_waits_for_client_that_reads_slowly(
    server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "WRITE_SECONDS", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.config.port, limit=128 * 1024)
    started = asyncio.get_running_loop().time()
    writer.write(b"GET /big HTTP/1.1\r\nHost: abacus\r\nConnection: close\r\n\r\n")

    received = 0
    while piece := await reader.read(256 * 1024):
        received += len(piece)
        await asyncio.sleep(0.005)

    assert received > BIG_ANSWER
    assert asyncio.get_running_loop().time() - started > http_protocol.WRITE_SECONDS
    writer.close()
    await writer.wait_closed()


async def test_answer_before_the_end_of_a_body_is_the_last_of_a_connection(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /early HTTP/1.1\r\nHost: abacus\r\nContent-Length: 100000000\r\n\r\n{")

    answer = await reader.read()  # until the server has ended its half
    writer.write(b" " * 1_000_000)  # a reset would make the client miss the answer
    await writer.drain()

    assert status(answer) == 200
    assert b"\r\nconnection: close\r\n" in answer
    writer.close()
    await writer.wait_closed()


async def test_connection_is_closed_a_while_after_an_early_answer(
    server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "LINGER_SECONDS", 0.05)
    _, writer = await asyncio.open_connection("127.0.0.1", server.config.port)
    writer.write(b"POST /early HTTP/1.1\r\nHost: abacus\r\nContent-Length: 100000000\r\n\r\n{")

    await until(lambda: bool(server.server_state.connections))
    await until(lambda: not server.server_state.connections)

    writer.close()
    await writer.wait_closed()


async def test_connection_is_kept_when_a_body_has_ended_before_its_answer(port: int) -> None:
    request = b"POST /early HTTP/1.1\r\nHost: abacus\r\nContent-Length: 2\r\n\r\n{}"

    answers = await exchange(port, request, head())

    assert answers.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("is_cut", [True, False])
@pytest.mark.parametrize("offer", [b"websocket", b"h2c"])
async def test_offer_of_another_protocol_is_ignored(
    port: int, caplog: pytest.LogCaptureFixture, offer: bytes, *, is_cut: bool
) -> None:
    start = (
        b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X\r\nUpgrade: %s\r\nContent-Length: 4\r\n\r\n" % offer
    )

    answers = await exchange(port, *([start + b"bo", b"dy"] if is_cut else [start + b"body"]), head())

    assert b"\r\n\r\nbodyHTTP/1.1 200 OK" in answers
    assert not caplog.records


async def test_server_is_not_a_proxy(port: int) -> None:
    answer = await exchange(port, b"CONNECT abacus:80 HTTP/1.1\r\nHost: abacus\r\n\r\n")

    assert (status(answer), code(answer)) == (400, "parse_error")


async def test_server_answers_what_is_not_http_with_an_error_body(port: int) -> None:
    answer = await exchange(port, b"\x00\x01 nothing\r\n\r\n")

    assert (status(answer), code(answer)) == (400, "parse_error")


async def test_refusals_write_one_line_a_second(
    port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "_refusals", RefusalLog())
    for _ in range(3):
        await exchange(port, b"\x00\x01 nothing\r\n\r\n")
    monkeypatch.setattr(http_protocol._refusals, "_silent_until", 0)
    await exchange(port, b"\x00\x01 nothing\r\n\r\n")

    line = "refused a connection of 127.0.0.1: The request is not valid HTTP."
    assert [record.getMessage() for record in caplog.records] == [line, f"{line} (2 more since the last line)"]
