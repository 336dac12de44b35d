"""The times that clients state, corrected to the server's clock."""

import datetime as dt
import math
from dataclasses import dataclass
from functools import cached_property

from app.common.json_text import storable_text
from app.common.timestamps import to_microseconds
from app.events.capture.decoding.moments import read_epoch, read_moment
from app.events.capture.decoding.wire import WireEvent, invalid_payload, refuse_long_field
from app.sdk.bounded_structs import Scalar

# Times outside are mistakes of a client's clock or unit; arithmetic and display need a margin to datetime's own bounds.
_EARLIEST = to_microseconds(dt.datetime(1900, 1, 1, tzinfo=dt.UTC))
_LATEST = to_microseconds(dt.datetime(2200, 1, 1, tzinfo=dt.UTC))
_MOST_DIGITS = 20
_LONG_CHARACTERS = 1_000  # from which on the bytes of a text are counted


@dataclass(frozen=True)
class RequestClock:
    """Converts the times of a request's events to the server's clock.

    Attributes
    ----------
    now : datetime
        When the request arrived.
    sent_at : datetime or None
        When the client sent the request, by the client's clock; None where it does not say so.
    """

    now: dt.datetime
    sent_at: dt.datetime | None

    @cached_property
    def received_at(self) -> int:
        """When the request arrived, in microseconds since 1970 UTC."""
        return to_microseconds(self.now)

    @cached_property
    def _delay(self) -> int:
        return 0 if self.sent_at is None else self.received_at - to_microseconds(self.sent_at)

    def time_of(self, event: WireEvent, *, ignores_sent_at: bool) -> tuple[int, str | None]:
        """Return when an event happened, in microseconds since 1970 UTC, and what it states if that cannot be read.

        It happened when it arrived where it does not say when, or says what cannot be read.
        """
        sent, offset = event.timestamp, event.offset
        time = None if sent is None else read_time(sent)
        if time is not None:
            if not ignores_sent_at:
                time += self._delay
        elif not _is_blank(offset):
            milliseconds = _read_offset(offset)
            time = None if milliseconds is None else self.received_at - round(milliseconds * 1_000)
            sent = offset if _is_blank(sent) else sent
        if time is not None and _EARLIEST <= time <= _LATEST:
            return time, None
        return self.received_at, None if _is_blank(sent) else storable_text(sent)


def read_sent_at(value: object) -> dt.datetime | None:
    """Read the time at which a client sent a request; None where the client does not state one.

    Raises
    ------
    ValidationFailed
        With the 2022 code ``invalid_payload``.
    """
    if not value:
        return None
    is_number = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < _MOST_DIGITS
    moment = read_epoch(int(str(value))) if is_number else _read(value)
    if moment is None:
        raise invalid_payload(
            f"Malformed request data, invalid sent at: {str(value)[:100]!r} is not an ISO 8601 date and time", "sent_at"
        )
    return moment


def read_time(value: object) -> int | None:
    """Return the time that a client states, by its clock, in microseconds since 1970 UTC."""
    moment = _read(value)
    return None if moment is None else to_microseconds(moment)


def _read(value: object) -> dt.datetime | None:
    if isinstance(value, str):
        if len(value) > _LONG_CHARACTERS:
            refuse_long_field(value, "timestamp")
        return read_moment(value)
    return None if isinstance(value, bool) or not isinstance(value, int | float) else read_epoch(value)


def _read_offset(offset: Scalar) -> float | None:
    """Return a number of milliseconds; None for anything but a number, or a text of one."""
    if isinstance(offset, bool) or not isinstance(offset, int | float | str):
        return None
    try:
        milliseconds = float(offset)
    except (ValueError, OverflowError):
        return None
    return milliseconds if math.isfinite(milliseconds) else None


def _is_blank(value: Scalar) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
