"""The HTTP protocol of the server, with limits on connections, heads and clients that do not read.

uvicorn's own protocol bounds none of them: an unfinished head may grow forever, and a connection that never sends one
stays open. A refusal here has the body of every other error.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httptools
import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.common import limits

logger = logging.getLogger("abacus")

MAX_HEAD_BYTES: Final = limits.HEAD_BYTES.value
MAX_HEADERS: Final = limits.HEADERS.value
HEAD_SECONDS: Final = float(limits.HEAD_SECONDS.value)
WRITE_SECONDS: Final = float(limits.WRITE_SECONDS.value)
LINGER_SECONDS: Final = float(limits.LINGER_SECONDS.value)
_LOG_SECONDS: Final = 1.0

_MALFORMED: Final = (400, "invalid_request", "parse_error", "The request is not valid HTTP.")
_HEAD_TOO_LARGE: Final = (
    431,
    "invalid_request",
    "request_header_fields_too_large",
    limits.HEAD_BYTES.detail,
)
_HEAD_TIMEOUT: Final = (408, "invalid_request", "request_timeout", limits.HEAD_SECONDS.detail)
_TOO_MANY_CONNECTIONS: Final = (
    503,
    "server_error",
    "service_unavailable",
    "Too many connections are open. Please try again.",
)
_Refusal = tuple[int, str, str, str]  # status, type, code, detail


class RefusalLog:
    """Logs refused connections: at most one line a second, because anybody can cause them."""

    def __init__(self) -> None:
        self._silent_until = 0.0
        self._unreported = 0

    def report(self, client: tuple[str, int] | None, reason: str) -> None:
        now = time.monotonic()
        if now < self._silent_until:
            self._unreported += 1
            return
        others = f" ({self._unreported} more since the last line)" if self._unreported else ""
        logger.warning("refused a connection of %s: %s%s", client[0] if client else "a client", reason, others)
        self._silent_until, self._unreported = now + _LOG_SECONDS, 0


_refusals = RefusalLog()


class _LingeringTransport:
    """The transport of one answer: closing it reads away first what the client still sends."""

    def __init__(self, protocol: "BoundedHttpProtocol") -> None:
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing
        self.close = protocol.linger


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection: its heads arrive whole within ``HEAD_SECONDS``, its answers are read, and it sends HTTP.

    ``limit_concurrency`` of the server's configuration is the number of connections that a process holds. One more
    takes the place of the connection that has waited longest for a request; where every connection has a request under
    way, it is refused before anything of it is read. An answer that comes before the end of the request's body is the
    connection's last: the rest of the body is not read. Offers to speak another protocol, such as WebSocket, are
    ignored.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._max_connections = config.limit_concurrency
        self.limit_concurrency = None  # uvicorn's own answer is plain text, and comes after the head
        self._waiting_since = self.loop.time()
        self._has_received = False
        self._made_progress = False  # whether the parser has finished a head or delivered a piece of a body
        self._pending_bytes = 0  # received since then: of a head, a chunk's frame or a trailer
        self._head_bytes = 0  # of the URL and the headers that the parser has finished
        self._refusal: _Refusal | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._start_head_timer()
        if self._max_connections is not None and len(self.connections) > self._max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timer()
        self._cancel_write_timer()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what was received. uvicorn's own method logs a line for everything that is not plain HTTP."""
        if self._linger_timer is not None or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._made_progress = False
        self._has_received = True
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(self._refusal or _MALFORMED)
            return
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if cycle is not None and cycle.more_body:
            self._make_early_answer_the_last(cycle)
        self._pending_bytes = 0 if self._made_progress else self._pending_bytes + len(data)
        if self._pending_bytes > MAX_HEAD_BYTES:
            self._refuse(_HEAD_TOO_LARGE)
        elif not self._is_answering() and self.timeout_keep_alive_task is None:
            self._start_head_timer()  # what came began no request: a line end, or a late piece of a body

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._start_head_timer()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._fail_head()

    def on_headers_complete(self) -> None:
        self._made_progress = True
        self._cancel_head_timer()
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._made_progress = True
        super().on_body(body)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._start_write_timer()

    def resume_writing(self) -> None:
        self._cancel_write_timer()
        super().resume_writing()

    def _parse(self, data: bytes) -> None:
        """Feed the parser. A head that offers another protocol is read again without the offer.

        The parser would take what follows such a head for the other protocol, although clients that offer HTTP/2 or
        WebSocket in passing send an ordinary body.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.parser.get_method() == b"CONNECT":
                raise httptools.HttpParserError("this is not a proxy") from upgrade
            head = _head_without_offer(self.parser, self.url, self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self._parse(head + data[upgrade.args[0] :])

    def linger(self) -> None:
        """Close the connection when the client has closed it too, or after ``LINGER_SECONDS``."""
        if self._linger_timer is not None or self.transport.is_closing():
            return
        self._linger_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _make_early_answer_the_last(self, cycle: RequestResponseCycle) -> None:
        if isinstance(cycle.transport, _LingeringTransport):
            return
        send: Callable[[Any], Awaitable[None]] = cycle.send

        async def send_last(message: Any) -> None:  # noqa: ANN401  # as the server types it
            if cycle.more_body and not cycle.response_started:
                cycle.keep_alive = False
            await send(message)

        cycle.transport = _LingeringTransport(self)  # type: ignore[assignment]  # all that a cycle uses of one
        cycle.send = send_last  # type: ignore[method-assign]  # the class is named inside uvicorn's method

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fail_head()

    def _fail_head(self) -> None:
        """Have the parser give up: it turns what a callback raises into its own error, and that ends in a refusal."""
        self._refusal = _HEAD_TOO_LARGE
        raise ValueError(_HEAD_TOO_LARGE[-1])

    def _make_room(self) -> None:
        others = [one for one in self.connections if one is not self and isinstance(one, BoundedHttpProtocol)]
        waiting = [one for one in others if not one._is_answering() and not one.transport.is_closing()]
        if waiting:
            longest = min(waiting, key=lambda one: one._waiting_since)
            _refusals.report(longest.client, "It sent no request, and its place was needed.")
            longest.transport.abort()
            return
        self._refuse(_TOO_MANY_CONNECTIONS)
        self.transport.close()  # at once: there is no place in which to wait

    def on_response_complete(self) -> None:
        self._waiting_since = self.loop.time()
        super().on_response_complete()

    def _time_out_head(self) -> None:
        self._head_timer = None
        if self._is_answering():  # an earlier request of the connection, which becomes the last one
            self.cycle.keep_alive = False
        elif self._has_received:
            self._refuse(_HEAD_TIMEOUT)
        else:  # a browser or a load balancer that opened a connection ahead of need
            self.transport.close()

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _refuse(self, refusal: _Refusal) -> None:
        """Answer and close; without an answer where another one is under way."""
        self._cancel_head_timer()
        if self.transport.is_closing():
            return
        _refusals.report(self.client, refusal[-1])
        if self._is_answering():
            self.transport.close()
            return
        self.transport.write(_response(refusal))
        self.linger()

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._time_out_head)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _start_write_timer(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self._check_reader, unread)

    def _check_reader(self, unread: int) -> None:
        """Abort the connection of a client that has not read enough since ``unread`` bytes were left."""
        if unread - self.transport.get_write_buffer_size() < limits.WRITE_RATE.value * WRITE_SECONDS:
            _refusals.report(self.client, "It does not read what is sent to it.")
            self.transport.abort()
        else:
            self._start_write_timer()

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def _head_without_offer(parser: httptools.HttpRequestParser, url: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = [b"%s %s HTTP/%s" % (parser.get_method(), url, parser.get_http_version().encode())]
    for name, value in headers:
        if name == b"connection":
            options = (option for option in value.split(b",") if option.strip().lower() != b"upgrade")
            lines.append(b"connection: " + b",".join(options))
        elif name != b"upgrade":
            lines.append(b"%s: %s" % (name, value))
    return b"\r\n".join([*lines, b"", b""])


def _response(refusal: _Refusal) -> bytes:
    status, kind, code, detail = refusal
    body = msgspec.json.encode({"type": kind, "code": code, "detail": detail, "attr": None})
    retry = b"retry-after: 1\r\n" if status == 503 else b""
    head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n" % len(body)
    return STATUS_LINE[status] + head + retry + b"\r\n" + body
