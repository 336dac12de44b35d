"""A receiver of webhooks on this machine, which keeps what it is sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Received:
    target: str
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass
class Receiver:
    """``statuses`` are answered one after the other, and 200 after them; None is no answer at all."""

    port: int = 0
    statuses: list[int | None] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/hook?source=abacus"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            head = (await reader.readuntil(HEAD_END)).decode()
            request, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.received.append(Received(request.split()[1], headers, body))
            status = self.statuses.pop(0) if self.statuses else 200
            if status is None:
                await reader.read()  # until the sender has enough
                return
            location = f"Location: {self.url}\r\n" if status == 302 else ""
            writer.write(f"HTTP/1.1 {status} X\r\n{location}Content-Length: 2\r\n\r\nok".encode())
            await writer.drain()


@contextlib.asynccontextmanager
async def receiving(*statuses: int | None) -> AsyncIterator[Receiver]:
    """Listen on a port of the loopback interface."""
    receiver = Receiver(statuses=list(statuses))
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
