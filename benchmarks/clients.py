"""A client that does as little as a client can: the machine that it runs on is the one that it measures."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import cast

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length: "


def get(path: str, key: str = "") -> bytes:
    """Return a request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def post(path: str, body: bytes, key: str = "") -> bytes:
    """Return a request with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def send(port: int, requests: Iterable[bytes], connections: int) -> float:
    """Send requests over so many connections, each the next one when its last is answered; return the seconds taken.

    Raises
    ------
    RuntimeError
        An answer is no success.
    """
    remaining = iter(requests)
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    workers = [
        (await loop.create_connection(lambda: _Connection(remaining), "127.0.0.1", port))[1] for _ in range(connections)
    ]
    await asyncio.gather(*(worker.done for worker in workers))
    return time.perf_counter() - start


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # the interface says less than it gives
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(_END_OF_HEAD)
        if not separator:
            return
        length = int(head.lower().partition(_LENGTH)[2].partition(b"\r")[0])
        if len(body) < length:
            return
        self._received = b""
        if head.startswith(b"HTTP/1.1 2"):
            self._next()
        else:
            self._finish(RuntimeError((head + body).decode()))

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc or ConnectionError("closed by the server"))

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._finish()
        else:
            self._transport.write(request)

    def _finish(self, error: Exception | None = None) -> None:
        self._transport.close()
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
