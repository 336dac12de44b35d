"""Reads the dates and times that clients write, as JavaScript's ``Date`` and the platform of 2022 read them.

ISO 8601 takes a microsecond. What else SDKs, servers and hand-written code send is read by a grammar of three orders of
a date (year, month, day; month, day, year; a named month), each with a time and a zone. It is strict: a text that says
anything more is not read at all, because a wrong time is worse than none.
"""

import datetime as dt
import re
from typing import Final

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LONGEST: Final = 100  # characters, for the slow grammar
_DATE_DIGITS, _MOMENT_DIGITS = 8, 14  # of 20250725 and 20250725001000

# Numbers below the first bound are seconds since 1970, then milliseconds, microseconds and nanoseconds. The bounds
# leave no moment of 1974 to 2200 in doubt. Up to 18 digits of nanoseconds are earlier than 2001, and a mistake.
_SECONDS, _MILLISECONDS, _MICROSECONDS, _NANOSECONDS = 10**11, 10**14, 10**17, 10**19
_SHORTEST_NANOSECONDS: Final = 10**18
_EPOCH_TEXT: Final = re.compile(r"(?P<whole>[0-9]{9,19})(?:\.(?P<fraction>[0-9]{1,9}))?")

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
# The zones that JavaScript knows by name, in hours.
_ZONES: Final = {
    **dict.fromkeys(("z", "ut", "utc", "gmt"), 0),
    "est": -5,
    "edt": -4,
    "cst": -6,
    "cdt": -5,
    "mst": -7,
    "mdt": -6,
    "pst": -8,
    "pdt": -7,
}

_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_MONTH = r"(?P<name>(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*)\.?"
_DAY = r"(?P<day>[0-9]{1,2})"
_YEAR = r"(?P<year>[0-9]{4})"
_TIME = (
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r"(?:\s*(?P<half>am|pm))?"
)
_OFFSET = r"[+-][0-9]{1,2}(?::?[0-9]{2})?"
_ZONE = rf"(?P<zone>(?:{'|'.join(_ZONES)}))?(?:\s*(?P<offset>{_OFFSET}))?(?:\s+utc)?"
_REST = rf"(?:(?:\s*t\s*|,?\s+(?:at\s+)?){_TIME}\s*{_ZONE})?"
_GRAMMAR: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:\+00)?{_YEAR}(?P<mark>[-/.])(?P<month>[0-9]{{1,2}})(?P=mark){_DAY}{_REST}",
        rf"{_WEEKDAY}(?P<month>[0-9]{{1,2}})(?P<mark>[-/]){_DAY}(?P=mark){_YEAR}{_REST}",
        rf"{_WEEKDAY}{_DAY}(?:st|nd|rd|th)?[-\s]+{_MONTH}[-,\s]+(?P<year>[0-9]{{4}}|[0-9]{{2}}){_REST}",
        rf"{_WEEKDAY}{_MONTH}\s+{_DAY}(?:st|nd|rd|th)?,?\s+{_YEAR}{_REST}",
        rf"{_WEEKDAY}{_MONTH}\s+{_DAY}\s+{_TIME}\s+{_ZONE}\s*{_YEAR}",
    )
)
# A remark in brackets at the end repeats the name of the zone: ``(Central European Time)``, ``[Europe/Berlin]``. Go
# appends the reading of a monotonic clock.
_REMARK: Final = re.compile(r"\s*(?:\([^()]*\)|\[[^\[\]]*\]|m=[+-][0-9.]+)\s*$")


def read_moment(text: str) -> dt.datetime | None:
    """Return the moment that a text states, in UTC unless it names a zone; None where it does not state one."""
    if text[4:5] != "-":
        text = text.strip()
        if text[:1].isdigit() and text.replace(".", "", 1).isdecimal() and len(text) != _DATE_DIGITS:
            return _read_digits(text)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return _read_by_grammar(text.strip()) if len(text) <= _LONGEST else None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=dt.UTC)
    if moment.tzinfo is dt.UTC:
        return moment
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:
        return None


def read_epoch(number: float) -> dt.datetime | None:
    """Return the moment that a number states: seconds since 1970, or milli-, micro- or nanoseconds by its size."""
    if not 0 < number < _NANOSECONDS:  # also of NaN
        return None
    if number < _SECONDS:
        microseconds = round(number * 1_000_000)
    elif number < _MILLISECONDS:
        microseconds = round(number * 1_000)
    elif number < _MICROSECONDS:
        microseconds = round(number)
    elif number >= _SHORTEST_NANOSECONDS:
        microseconds = int(number) // 1_000
    else:
        return None
    try:
        return _EPOCH + dt.timedelta(microseconds=microseconds)
    except OverflowError:
        return None


def _read_digits(text: str) -> dt.datetime | None:
    if len(text) == _MOMENT_DIGITS and text.isascii() and text.isdecimal():
        try:
            return dt.datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
        except ValueError:
            return None
    match = _EPOCH_TEXT.fullmatch(text)
    if match is None:
        return None
    whole = read_epoch(int(match["whole"]))
    if whole is None or not match["fraction"]:
        return whole
    unit = 1_000_000 if int(match["whole"]) < _SECONDS else 1_000
    return whole + dt.timedelta(microseconds=int(int(match["fraction"].ljust(9, "0")) * unit // 10**9))


def _read_by_grammar(text: str) -> dt.datetime | None:
    text = _REMARK.sub("", text)
    for pattern in _GRAMMAR:
        match = pattern.fullmatch(text)
        if match is not None:
            try:
                return _moment_of(match.groupdict())
            except (ValueError, OverflowError):
                return None
    return None


def _moment_of(parts: dict[str, str | None]) -> dt.datetime:
    year = int(parts["year"] or 0)
    if year < 100:  # as JavaScript reads years of two digits
        year += 2000 if year < 50 else 1900
    name = parts.get("name")
    month = _MONTHS[name[:3].lower()] if name else int(parts.get("month") or 0)
    second = int(parts["second"] or 0)
    hour = _hour_of(parts)
    is_midnight = hour == 24 and not int(parts["minute"] or 0) and not second
    moment = dt.datetime(
        year,
        month,
        int(parts["day"] or 0),
        0 if is_midnight else hour,
        int(parts["minute"] or 0),
        min(second, 59) if second <= 60 else second,
        int((parts["fraction"] or "0")[:6].ljust(6, "0")),
        tzinfo=dt.timezone(_offset_of(parts)),
    )
    if is_midnight:  # 24:00, the end of a day
        moment += dt.timedelta(days=1)
    if second == 60:  # a leap second: clocks that have none show the next second instead
        moment += dt.timedelta(seconds=1)
    return moment.astimezone(dt.UTC)


def _hour_of(parts: dict[str, str | None]) -> int:
    hour, half = int(parts["hour"] or 0), parts["half"]
    if half is None:
        return hour
    if not 1 <= hour <= 12:
        raise ValueError(f"no hour of a half day: {hour}")
    return hour % 12 + (12 if half.lower() == "pm" else 0)


def _offset_of(parts: dict[str, str | None]) -> dt.timedelta:
    zone, offset = parts["zone"], parts["offset"]
    hours = dt.timedelta(hours=_ZONES[zone.lower()] if zone else 0)
    if not offset:
        return hours
    if zone and hours:
        raise ValueError(f"two zones: {zone}{offset}")
    digits = offset[1:].replace(":", "")
    digits = digits.zfill(2) + "00" if len(digits) <= 2 else digits.zfill(4)
    if int(digits[2:]) >= 60:
        raise ValueError(f"no offset: {offset}")
    found = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -found if offset[0] == "-" else found
