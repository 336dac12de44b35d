"""The dates of an insight: absolute, or relative to now as clients of 2022 write them."""

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Final
from zoneinfo import ZoneInfo

from app.common.errors import ValidationFailed
from app.common.timestamps import is_in_range
from app.properties.dates import ParsedDate, RelativeDate, parse_filter_date

ALL: Final = "all"
DEFAULT_FROM: Final = "-7d"
_RELATIVE: Final = re.compile(r"-?(?P<number>\d{1,4})?(?P<unit>[hdwmy])(?P<edge>Start|End)?", re.ASCII)
_DAY: Final = dt.timedelta(days=1)
_LAST: Final = dt.time(23, 59, 59, 999999)

_STARTS: Final[Mapping[str, Callable[[dt.datetime], dt.datetime]]] = {
    "h": lambda at: at.replace(minute=0, second=0, microsecond=0),
    "d": lambda at: dt.datetime.combine(at, dt.time()),
    "w": lambda at: dt.datetime.combine(at - (at.isoweekday() % 7) * _DAY, dt.time()),  # Sunday
    "m": lambda at: dt.datetime.combine(at.replace(day=1), dt.time()),
    "y": lambda at: dt.datetime.combine(at.replace(month=1, day=1), dt.time()),
}


def read_start(text: str, now: dt.datetime, timezone: ZoneInfo) -> dt.datetime:
    """Return when an insight begins: a day without a time at its beginning.

    Raises
    ------
    ValidationFailed
        When the text is no date.
    """
    return _read(text, "date_from", now, timezone, lambda at: dt.datetime.combine(at, dt.time()))


def read_end(text: str, now: dt.datetime, timezone: ZoneInfo) -> dt.datetime:
    """Return when an insight ends: a day without a time at its end.

    Raises
    ------
    ValidationFailed
        When the text is no date.
    """
    return _read(text, "date_to", now, timezone, lambda at: dt.datetime.combine(at, _LAST))


def _read(
    text: str, name: str, now: dt.datetime, timezone: ZoneInfo, of_day: Callable[[dt.datetime], dt.datetime]
) -> dt.datetime:
    """Read a date by the clock of a time zone; ``of_day`` says which moment a whole day means."""
    wall = now.astimezone(timezone).replace(tzinfo=None)
    match = _RELATIVE.fullmatch(text)
    found = _absolute(text, timezone, of_day) if match is None else _relative(match, wall, of_day)
    if found is None:
        raise ValidationFailed(
            f"{name} is a date ('2022-11-05', '2022-11-05T10:30:00Z') or relative to now ('-7d', '-24h', 'mStart', "
            f"'-1mEnd'; h, d, w, m, y), got {text[:100]!r}",
            attr=name,
        )
    try:
        at = (found if found.tzinfo else found.replace(tzinfo=timezone)).astimezone(dt.UTC)
    except OverflowError as error:
        raise ValidationFailed(f"{name} is out of range", attr=name) from error
    if not is_in_range(at):
        raise ValidationFailed(f"{name} is out of range", attr=name)
    return at


def _relative(
    match: re.Match[str], wall: dt.datetime, of_day: Callable[[dt.datetime], dt.datetime]
) -> dt.datetime | None:
    unit, edge = match["unit"], match["edge"]
    if match["number"] is None and edge is None:
        return None
    parsed = RelativeDate(int(match["number"] or 0), unit).before(wall.replace(tzinfo=dt.UTC))
    if parsed is None:
        return None
    at = parsed.at.replace(tzinfo=None)
    start = _STARTS[unit](at)
    if edge == "Start":
        return start
    if edge == "End":
        return _next(start, unit) - dt.timedelta(microseconds=1)
    return at if unit == "h" else of_day(at)


def _next(start: dt.datetime, unit: str) -> dt.datetime:
    """Return the start of the next hour, day, week, month or year."""
    if unit in "hdw":
        return start + {"h": dt.timedelta(hours=1), "d": _DAY, "w": 7 * _DAY}[unit]
    years, month = divmod(start.month, 12) if unit == "m" else (1, 0)
    return start.replace(year=start.year + years, month=month + 1)


def _absolute(text: str, timezone: ZoneInfo, of_day: Callable[[dt.datetime], dt.datetime]) -> dt.datetime | None:
    parsed = parse_filter_date(text)
    if not isinstance(parsed, ParsedDate):
        return None
    if parsed.is_date:
        return of_day(parsed.at.replace(tzinfo=None))
    try:  # a time without a zone is by the project's clock
        written = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        return parsed.at
    return written.replace(tzinfo=timezone) if written.tzinfo is None else parsed.at
