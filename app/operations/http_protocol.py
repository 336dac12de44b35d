"""The HTTP protocol of the server, with limits on connections, heads and clients that do not read.

uvicorn's own protocol bounds none of them: an unfinished head may grow for ever, and a connection that never sends one
stays open. A refusal here has the body of every other error.
"""

import asyncio
import logging
from typing import Any, Final

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


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection: its heads arrive whole within ``HEAD_SECONDS``, its answers are read within ``WRITE_SECONDS``.

    ``limit_concurrency`` of the server's configuration is the number of connections that a process holds; one more is
    refused before anything of it is read.
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
        self._made_progress = False  # whether the parser has finished a head or delivered a piece of a body
        self._pending_bytes = 0  # received since then: of a head, a chunk's frame or a trailer
        self._head_bytes = 0  # of the URL and the headers that the parser has finished
        self._refusal: _Refusal | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self._max_connections is not None and len(self.connections) > self._max_connections:
            self._refuse(_TOO_MANY_CONNECTIONS)
            return
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timer()
        self._cancel_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._made_progress = False
        super().data_received(data)
        self._pending_bytes = 0 if self._made_progress else self._pending_bytes + len(data)
        if self._pending_bytes > MAX_HEAD_BYTES:
            self._refuse(_HEAD_TOO_LARGE)

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
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._made_progress = True
        super().on_body(body)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._cancel_write_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # the parser's words say less than ours
        self._refuse(self._refusal or _MALFORMED)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fail_head()

    def _fail_head(self) -> None:
        """Have the parser give up: it turns what a callback raises into its own error, and that ends in a refusal."""
        self._refusal = _HEAD_TOO_LARGE
        raise ValueError(_HEAD_TOO_LARGE[-1])

    def _time_out_head(self) -> None:
        if self._is_answering():  # an earlier request of the connection, which becomes the last one
            self.cycle.keep_alive = False
        else:
            self._refuse(_HEAD_TIMEOUT)

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _refuse(self, refusal: _Refusal) -> None:
        """Answer and close; without an answer where another one is under way."""
        self._cancel_head_timer()
        if self.transport.is_closing():
            return
        logger.warning("refused a request of %s: %s", self.client[0] if self.client else "a client", refusal[-1])
        if not self._is_answering():
            self.transport.write(_response(refusal))
        self.transport.close()

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._time_out_head)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def _response(refusal: _Refusal) -> bytes:
    status, kind, code, detail = refusal
    body = msgspec.json.encode({"type": kind, "code": code, "detail": detail, "attr": None})
    retry = b"retry-after: 1\r\n" if status == 503 else b""
    head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n" % len(body)
    return STATUS_LINE[status] + head + retry + b"\r\n" + body
