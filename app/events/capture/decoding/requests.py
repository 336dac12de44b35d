"""A capture request, decoded to the token of its project and its events."""

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.common.errors import ValidationFailed
from app.common.json_text import storable_text
from app.events.capture.decoding.clock import RequestClock, read_sent_at
from app.events.capture.decoding.events import LONG_BYTES, CapturedEvent, is_long, read_events
from app.events.capture.decoding.visitors import Sender
from app.events.capture.decoding.wire import ParsedRequest, parse_request, read_properties

_UNKNOWN_SENDER = Sender()
LARGE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Envelope:
    """What a request states outside its payload: in the query, in other fields of its form, and by its path.

    ``tokens`` are in the order of their precedence, and take precedence over the tokens in the payload.
    """

    tokens: Sequence[str] = ()
    query_sent_at: str = ""
    form_sent_at: str = ""
    project_id: str = ""
    event_name: str | None = None
    sender: Sender = _UNKNOWN_SENDER


@dataclass(frozen=True)
class CapturedBatch:
    """The token and the events of a request.

    Attributes
    ----------
    project_id : object
        The project's id as a client states it that sends a personal API key in place of a token.
    events : iterator of CapturedEvent
        Decoded while they are taken. One invalid event refuses the whole request, so that no request is stored in part:
        it raises ``ValidationFailed`` with the 2022 code ``invalid_payload``.
    is_large : bool
        Whether the token should be looked up before events are taken.
    are_long : bool
        Whether decoding a single event may take long.
    """

    token: str | None
    project_id: object
    events: Iterator[CapturedEvent]
    is_large: bool
    are_long: bool


_EMPTY_ENVELOPE = Envelope()


def decode_batch(payload: bytes, now: dt.datetime, envelope: Envelope = _EMPTY_ENVELOPE) -> CapturedBatch:
    """Decode a JSON payload: one event, a list of events, or an envelope ``{"api_key", "batch": [...]}``.

    Parameters
    ----------
    now
        When the request arrived: the time of events that state none, and the clock that ``sent_at`` is corrected to.

    Raises
    ------
    ValidationFailed
        With the 2022 code ``invalid_payload``.
    """
    parsed = parse_request(payload)
    first = parsed.first
    if envelope.event_name is not None and parsed.is_single:
        first.event = envelope.event_name
    clock = RequestClock(now, read_sent_at(envelope.query_sent_at or first.sent_at or envelope.form_sent_at))
    return CapturedBatch(
        token=_find_token(parsed, envelope),
        project_id=envelope.project_id or first.project_id,
        events=read_events(parsed, clock, envelope.sender),
        is_large=len(payload) > LARGE_BYTES,
        are_long=len(payload) > LONG_BYTES and any(map(is_long, parsed.events)),
    )


def _find_token(parsed: ParsedRequest, envelope: Envelope) -> str | None:
    first = parsed.first
    candidates = (*envelope.tokens, first.dollar_token, first.token, first.api_key)
    found = next((candidate for candidate in candidates if candidate), None)
    if not found and not parsed.has_batch:
        with contextlib.suppress(ValidationFailed):  # which is raised when the event is decoded, and says where it is
            found = read_properties(first)[1].token
    return storable_text(found).strip() if found else None
