"""Parsing of dates and times in properties and filters."""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Final

_TIME: Final = (
    r"(?:[T ](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?"
    r" ?(?:(?P<utc>[Zz])|(?P<sign>[+-])(?P<offset_hours>\d{2}):?(?P<offset_minutes>\d{2})?)?)?"
)
_FORMS: Final = (
    re.compile(r"(?P<year>\d{4})[-/](?P<month>\d{1,2})[-/](?P<day>\d{1,2})" + _TIME, re.ASCII),
    re.compile(r"(?P<day>\d{1,2})[-/](?P<month>\d{1,2})[-/](?P<year>\d{4})" + _TIME, re.ASCII),
    re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})", re.ASCII),
    re.compile(
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})[T]?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})[Zz]?",
        re.ASCII,
    ),
)
_RELATIVE: Final = re.compile(r"-?(?P<number>\d{1,4})(?P<unit>[hdwmy])", re.ASCII)
_MONTHS_OF_A_YEAR: Final = 12
_UNIX_SECONDS: Final = re.compile(r"\d{9,10}", re.ASCII)
_DATE_LENGTH: Final = 10
_LONGEST_MAIL_DATE: Final = 64
_MILLISECONDS: Final = re.compile(r"\d{12,13}", re.ASCII)
DATE_FORMS: Final = (
    "'2022-11-05', '2022-11-05T10:30:00Z', or relative to now, '-7d' (h hours, d days, w weeks, m months, y years)"
)


@dataclass(frozen=True, slots=True)
class ParsedDate:
    """A time in UTC; ``is_date`` if it was written without a time of day."""

    at: datetime
    is_date: bool


@dataclass(frozen=True, slots=True)
class RelativeDate:
    """A time before now, in hours, days, weeks, months or years of the calendar."""

    number: int
    unit: str

    def before(self, now: datetime) -> ParsedDate | None:
        """Return the time; None where it lies before the year 1."""
        try:
            return ParsedDate(self._before(now.astimezone(UTC)), is_date=False)
        except (ValueError, OverflowError):
            return None

    def _before(self, now: datetime) -> datetime:
        if self.unit == "h":
            return now - timedelta(hours=self.number)
        if self.unit in "dw":
            return now - timedelta(days=self.number * (7 if self.unit == "w" else 1))
        if self.unit == "y":
            day = 28 if self.number and (now.month, now.day) == (2, 29) else now.day
            return now.replace(year=now.year - self.number, day=day)
        return _months_before(now, self.number)


def parse_filter_date(text: str) -> ParsedDate | RelativeDate | None:
    """Parse the date of a filter, relative to now or absolute; None if the text is not one.

    Unlike in properties, nothing may follow the date.
    """
    text = text.strip()
    if match := _RELATIVE.fullmatch(text):
        return RelativeDate(int(match["number"]), match["unit"])
    return _parse(text[:-3]) if _MILLISECONDS.fullmatch(text) else _parse(text)


def parse_moment(text: str) -> ParsedDate | None:
    """Parse a date or time; None if the text is not one.

    Notes
    -----
    Supported are ISO 8601 dates and date-times, ``d/m/Y`` and ``d-m-Y`` with or without a time, RFC 822 dates, and Unix
    time of 9 or 10 digits. Times without a zone are UTC. Of any other text the first 10 characters are tried: this
    covers Unix time in milliseconds (13 digits), and dates followed by other text. PostHog uses ClickHouse's
    ``parseDateTimeBestEffort`` in this way.
    """
    text = text.strip()
    moment = _parse(text)
    if moment is None and len(text) > _DATE_LENGTH:
        return _parse(text[:_DATE_LENGTH])
    return moment


def _months_before(now: datetime, number: int) -> datetime:
    """Go back month by month, to the last day of a month that lacks the day: SDKs count so."""
    index, day = now.year * _MONTHS_OF_A_YEAR + now.month - 1, now.day
    for past in range(index - 1, index - number - 1, -1):
        if day <= 28:  # every month has at least 28 days
            break
        day = min(day, monthrange(past // _MONTHS_OF_A_YEAR, past % _MONTHS_OF_A_YEAR + 1)[1])
    year, month = divmod(index - number, _MONTHS_OF_A_YEAR)
    return now.replace(year=year, month=month + 1, day=day)


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
    microsecond = int((parts.get("fraction") or "")[:6].ljust(6, "0"))
    day = part("year"), part("month"), part("day")
    at = datetime(*day, part("hour"), part("minute"), part("second"), microsecond, tzinfo=zone)
    return ParsedDate(_in_utc(at), is_date=parts.get("hour") is None)


def _in_utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return at.astimezone(UTC)
