"""A proxy between the service and PostgreSQL that makes a chosen statement fail.

It speaks so much of the protocol that it sees every statement, whichever way the service sends it: the toolkit's, the
driver's own, COPY, BEGIN and COMMIT.
"""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator
from typing import Literal, Self

Fault = Literal["refuse", "die"]

_SSL_REQUEST = 80877103
_HEADER = struct.Struct("!cI")
_LENGTH = struct.Struct("!I")
# The end of what the server answers in one go: a statement to be prepared, one to be executed, a simple query, and the
# data of a COPY.
_FLUSH, _SYNC, _QUERY, _COPY_DONE = b"H", b"S", b"Q", b"c"
_TERMINATE = b"X"

_FULL = b"could not extend file: No space left on device"
_RAISE = f"DO $$ BEGIN RAISE EXCEPTION '{_FULL.decode()}' USING ERRCODE = '53100'; END $$"
_REASON = b"SERROR\0VERROR\0C53100\0M" + _FULL + b"\0\0"
_REFUSAL = b"E" + _LENGTH.pack(_LENGTH.size + len(_REASON)) + _REASON
_READY = b"Z" + _LENGTH.pack(_LENGTH.size + 1) + b"I"
_READY_AFTER_FAILURE = b"Z" + _LENGTH.pack(_LENGTH.size + 1) + b"E"


class PostgresProxy:
    """``async with PostgresProxy.before(port) as proxy`` listens on ``proxy.port``.

    ``fail(n, "refuse")`` has the n-th statement from then on refused, and all that follow, because the disk is full.
    ``fail(n, "die")`` cuts all connections instead, and lets nobody in. ``heal()`` ends either.
    """

    def __init__(self, server_port: int, certificate: ssl.SSLContext | None) -> None:
        self._server_port = server_port
        self._certificate = certificate
        self._connections: set[asyncio.StreamWriter] = set()
        self._work: set[asyncio.Task[None] | None] = set()
        self._countdown = 0
        self._fault: Fault = "refuse"
        self._is_dead = False
        self.has_struck = False
        self.encrypted = 0
        self.port = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def before(cls, server_port: int, certificate: ssl.SSLContext | None = None) -> AsyncIterator[Self]:
        proxy = cls(server_port, certificate)
        listener = await asyncio.start_server(proxy._serve, "127.0.0.1")
        proxy.port = listener.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            listener.close()
            proxy._cut()
            await listener.wait_closed()

    def fail(self, number: int, fault: Fault) -> None:
        self._countdown, self._fault, self.has_struck = number, fault, False

    def heal(self) -> None:
        self._countdown, self._is_dead = 0, False

    def _cut(self) -> None:
        for writer in self._connections:
            writer.transport.abort()

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self._is_dead:
            client.transport.abort()
            return
        reader, server = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._connections |= {client, server}
        answers = asyncio.create_task(_pass_on(reader, client))
        work = {asyncio.current_task(), answers}
        self._work |= work  # the loop alone would not keep them
        try:
            await self._start(client_reader, client, server)
            await self._read_statements(client_reader, client, server)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections -= {client, server}
            server.close()
            await answers
            client.close()
            self._work -= work

    async def _start(
        self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        """Pass on what opens a connection, which has no type in front; answer the question for encryption."""
        while True:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            body = await reader.readexactly(length - _LENGTH.size)
            if struct.unpack_from("!I", body)[0] != _SSL_REQUEST:
                server.write(_LENGTH.pack(length) + body)
                return
            client.write(b"S" if self._certificate else b"N")
            if self._certificate:
                await client.start_tls(self._certificate)
                self.encrypted += 1

    async def _read_statements(
        self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        messages = b""
        is_in_transaction = False
        while True:
            header = await reader.readexactly(_HEADER.size)
            kind, length = _HEADER.unpack(header)
            message = header + await reader.readexactly(length - _LENGTH.size)
            if kind == _TERMINATE:
                return
            messages += message
            if kind not in (_FLUSH, _SYNC, _QUERY, _COPY_DONE):
                continue
            is_undoing = b"ROLLBACK" in messages  # if that failed too, it would be as if the server died
            if is_undoing or (messages == message and kind == _SYNC) or not self._is_due():
                is_ending = is_undoing or b"COMMIT" in messages
                is_in_transaction = b"BEGIN" in messages or (is_in_transaction and not is_ending)
                server.write(messages)
            elif self._fault == "die":
                self._is_dead = True
                self._cut()
                return
            elif kind == _QUERY:
                is_in_transaction = is_in_transaction and b"COMMIT" not in messages
                server.write(_query(_RAISE if is_in_transaction else f"ROLLBACK; {_RAISE}"))
            elif kind == _COPY_DONE:
                server.write(b"f" + _LENGTH.pack(_LENGTH.size + len(_FULL) + 1) + _FULL + b"\0")
            else:
                client.write(_REFUSAL)
                if kind == _SYNC:  # or else the client asks for it
                    client.write(_READY_AFTER_FAILURE if is_in_transaction else _READY)
            messages = b""

    def _is_due(self) -> bool:
        if self._countdown > 1:
            self._countdown -= 1
            return False
        self.has_struck |= self._countdown == 1
        return self._countdown == 1


def _query(text: str) -> bytes:
    return _QUERY + _LENGTH.pack(_LENGTH.size + len(text) + 1) + text.encode() + b"\0"


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()
