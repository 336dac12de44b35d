"""The times that clients state, corrected to the server's clock."""

import datetime as dt
import re
from dataclasses import dataclass
from functools import cached_property

from app.common.timestamps import to_microseconds
from app.events.capture.decoding.wire import WireEvent, WireProperties, invalid_payload, refuse_long_field

# Times outside are mistakes of a client's clock or unit; arithmetic and display need a margin to datetime's own bounds.
_EARLIEST = dt.datetime(1900, 1, 1, tzinfo=dt.UTC)
_LATEST = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
_EPOCH = re.compile(r"[0-9]{1,18}")
_EPOCH_LIMIT = 10**18
_LONGEST_SECONDS = 11  # digits; longer numbers are milliseconds


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

    def time_of(self, event: WireEvent, properties: WireProperties) -> int:
        """Return when an event happened, in microseconds since 1970 UTC; the time of arrival where it does not say."""
        moment = self._moment(event, None if properties.ignores_sent_at is True else self.sent_at)
        if not _EARLIEST <= moment <= _LATEST:
            moment = self.now
        return to_microseconds(moment)

    def _moment(self, event: WireEvent, sent_at: dt.datetime | None) -> dt.datetime:
        stated = _parse_iso_8601(event.timestamp) or _parse_number(event.timestamp)
        try:
            if stated is not None:
                return stated if sent_at is None else self.now + (stated - sent_at)
            if isinstance(event.offset, int | float):
                return self.now - dt.timedelta(milliseconds=event.offset)
        except OverflowError:
            pass
        return self.now


def read_sent_at(value: object) -> dt.datetime | None:
    """Read the time at which a client sent a request; None where the client does not state one.

    Raises
    ------
    ValidationFailed
        With the 2022 code ``invalid_payload``.
    """
    if not value:
        return None
    moment = _parse_epoch(value) or _parse_iso_8601(value)
    if moment is None:
        raise invalid_payload(
            f"Malformed request data, invalid sent at: {str(value)[:100]!r} is not an ISO 8601 date and time"
        )
    return moment


def _parse_iso_8601(value: object) -> dt.datetime | None:
    if not isinstance(value, str):
        return None
    refuse_long_field(value)
    try:
        moment = dt.datetime.fromisoformat(value.strip())
        return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return None


def _parse_number(value: object) -> dt.datetime | None:
    """Read a JSON number as its digits are read: JavaScript's clock returns numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _EPOCH_LIMIT:
        return None
    return _parse_epoch(str(int(value)))


def _parse_epoch(value: object) -> dt.datetime | None:
    """Read digits: seconds since 1970, or milliseconds from the twelfth digit on."""
    if not isinstance(value, str) or _EPOCH.fullmatch(value) is None:
        return None
    unit = dt.timedelta(milliseconds=1) if len(value) > _LONGEST_SECONDS else dt.timedelta(seconds=1)
    try:
        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + int(value) * unit
    except OverflowError:
        return None
