"""Conversion of times between ISO 8601 texts and microseconds since 1970 UTC, as events, facts and numpy have them."""

import datetime as dt
import re

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def to_microseconds(moment: dt.datetime) -> int:
    """Return an aware datetime as microseconds, without floating point."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> dt.datetime:
    """Return microseconds as a datetime in UTC."""
    return _EPOCH + dt.timedelta(microseconds=microseconds)


_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d{1,2}-\d{1,2})[T ](?P<hour>\d{1,2}):(?P<minute>\d{1,2})"
    r"(?::(?P<second>\d{1,2})(?:[.,](?P<fraction>\d{1,6})\d*)?)?\s*"
    r"(?P<zone>Z|z|[+-]\d{2}(?::?\d{2})?)?"
)


def parse_moment(text: str) -> dt.datetime | None:
    """Parse a date and time as the 2022 API does; None if the text is not one. Without a zone it is UTC."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    year, month, day = map(int, match["date"].split("-"))
    try:
        moment = dt.datetime(
            year,
            month,
            day,
            int(match["hour"]),
            int(match["minute"]),
            int(match["second"] or 0),
            int((match["fraction"] or "0").ljust(6, "0")),
            tzinfo=_zone(match["zone"]),
        ).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None
    return moment if is_in_range(moment) else None


def is_in_range(moment: dt.datetime) -> bool:
    """Whether a time can be stored and reckoned with: databases and arithmetic have narrower limits than datetime."""
    return 1900 <= moment.year <= 2200


def _zone(text: str | None) -> dt.tzinfo:
    if text is None or text in "Zz":
        return dt.UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return dt.timezone(-offset if text[0] == "-" else offset)


def write_moment(value: dt.datetime) -> str:
    """Write a datetime as all responses show it."""
    return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat() + "Z"
