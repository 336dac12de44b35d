"""A capture request, decoded to the token of its project and its events."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.common.json_text import storable_text
from app.events.capture.decoding.clock import RequestClock, read_sent_at
from app.events.capture.decoding.events import LONG_BYTES, CapturedEvent, is_long, read_events
from app.events.capture.decoding.wire import (
    WireEvent,
    WireRequest,
    invalid_payload,
    parse_request,
    read_properties,
)


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
    address: str | None = None


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
    are_long : bool
        Whether decoding a single event may take long.
    """

    token: str | None
    project_id: object
    events: Iterator[CapturedEvent]
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
    body = parse_request(payload)
    entries = body if isinstance(body, list) else [body]
    if not entries:
        raise invalid_payload("Invalid payload: the request holds no event.")
    first = entries[0]
    has_batch = bool(first.batch) and not isinstance(body, list)
    if envelope.event_name is not None and not has_batch and not isinstance(body, list):
        first.event = envelope.event_name
    events: Sequence[WireEvent] = first.batch if first.batch and has_batch else entries
    clock = RequestClock(now, read_sent_at(envelope.query_sent_at or first.sent_at or envelope.form_sent_at))
    return CapturedBatch(
        token=_find_token(first, envelope),
        project_id=envelope.project_id or first.project_id,
        events=read_events(events, clock, envelope.address),
        are_long=len(payload) > LONG_BYTES and any(map(is_long, events)),
    )


def _find_token(first: WireRequest, envelope: Envelope) -> str | None:
    candidates = (*envelope.tokens, first.dollar_token, first.token, first.api_key)
    found = next((candidate for candidate in candidates if candidate), None)
    if not found and first.batch is None:
        found = read_properties(first)[1].token
    return storable_text(found).strip() if found else None
