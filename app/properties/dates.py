"""Parsing of dates and times in properties and filters."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Final

_TIME: Final = (
    r"(?:[T ](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?"
    r" ?(?:(?P<utc>[Zz])|(?P<sign>[+-])(?P<offset_hours>\d{2}):?(?P<offset_minutes>\d{2})?)?)?"
)
_FORMS: Final = (
    re.compile(r"(?P<year>\d{4})[-/](?P<month>\d{1,2})[-/](?P<day>\d{1,2})" + _TIME, re.ASCII),
    re.compile(r"(?P<day>\d{1,2})/(?P<month>\d{1,2})/(?P<year>\d{4})" + _TIME, re.ASCII),
    re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})", re.ASCII),
    re.compile(
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})[T]?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})[Zz]?",
        re.ASCII,
    ),
)
_UNIX_SECONDS: Final = re.compile(r"\d{9,10}", re.ASCII)
_DATE_LENGTH: Final = 10
_LONGEST_MAIL_DATE: Final = 64


@dataclass(frozen=True, slots=True)
class ParsedDate:
    """A time in UTC, truncated to seconds; ``is_date`` if it was written without a time of day."""

    at: datetime
    is_date: bool


def parse_moment(text: str) -> ParsedDate | None:
    """Parse a date or time; None if the text is not one.

    Notes
    -----
    Supported are ISO 8601 dates and date-times, ``d/m/Y`` with or without a time, RFC 822 dates, and Unix time of 9 or
    10 digits. Times without a zone are UTC. Of any other text the first 10 characters are tried: this covers Unix time
    in milliseconds (13 digits), and dates followed by other text. PostHog uses ClickHouse's
    ``parseDateTimeBestEffort`` in this way.
    """
    text = text.strip()
    moment = _parse(text)
    if moment is None and len(text) > _DATE_LENGTH:
        return _parse(text[:_DATE_LENGTH])
    return moment


def _parse(text: str) -> ParsedDate | None:
    try:
        if _UNIX_SECONDS.fullmatch(text):
            return ParsedDate(datetime.fromtimestamp(int(text), UTC), is_date=False)
        for form in _FORMS:
            if match := form.fullmatch(text):
                return _from_parts(match.groupdict())
        if len(text) <= _LONGEST_MAIL_DATE and any(character.isalpha() for character in text):
            return ParsedDate(_in_utc(parsedate_to_datetime(text)), is_date=False)
    except (ValueError, OverflowError, IndexError, TypeError):  # errors of the RFC 822 parser on other texts
        return None
    return None


def _from_parts(parts: dict[str, str | None]) -> ParsedDate:
    def part(name: str) -> int:
        return int(parts.get(name) or 0)

    offset = timedelta(hours=part("offset_hours"), minutes=part("offset_minutes"))
    zone = timezone(-offset if parts.get("sign") == "-" else offset)
    at = datetime(part("year"), part("month"), part("day"), part("hour"), part("minute"), part("second"), tzinfo=zone)
    return ParsedDate(_in_utc(at), is_date=parts.get("hour") is None)


def _in_utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return at.astimezone(UTC).replace(microsecond=0)
