"""Calendar buckets: hours, days, weeks and months in a project's time zone."""

import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from app.common import limits

Interval: TypeAlias = Literal["hour", "day", "week", "month"]

INTERVALS: tuple[Interval, ...] = ("hour", "day", "week", "month")

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SECOND = dt.timedelta(seconds=1)
_HOUR = dt.timedelta(hours=1)
_DAY = dt.timedelta(days=1)
_SECONDS_OF_A_DAY = 86_400
_MICROSECONDS_OF_A_SECOND = 1_000_000
_HOURS_BETWEEN_LOOKUPS = 24
# Independent of the locale.
_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class TooManyBuckets(ValueError):
    """A time has more intervals than are counted."""


@dataclass(frozen=True, eq=False)
class Ticks:
    """Consecutive buckets of time. They are shared: the arrays are read-only.

    Attributes
    ----------
    starts : int64[n]
        First microsecond (since 1970 UTC) of each bucket, ascending. A bucket ends where the next one starts.
    clock : int64[n]
        What a clock in the time zone shows there, in seconds since 1970.
    """

    starts: NDArray[np.int64]
    clock: NDArray[np.int64]
    interval: Interval

    def __post_init__(self) -> None:
        self.starts.setflags(write=False)
        self.clock.setflags(write=False)

    def __len__(self) -> int:
        return len(self.starts)

    def bucket(self, times: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the bucket of each time (-1 before the first)."""
        return np.searchsorted(self.starts, times, side="right") - 1

    def labels(self) -> list[str]:
        """Return ``2-Jan-2020`` for each bucket; for hours ``2-Jan-2020 13:00``."""
        dates = [f"{day}-{_MONTHS[month]}-{year}" for year, month, day in self._dates()]
        if self.interval != "hour":
            return dates
        return [f"{date} {hour:02}:{minute:02}" for date, (hour, minute, _) in zip(dates, self._times(), strict=True)]

    def days(self) -> list[str]:
        """Return ``2020-01-02`` for each bucket; for hours ``2020-01-02 13:00:00``."""
        dates = [f"{year}-{month:02}-{day:02}" for year, month, day in self._dates()]
        if self.interval != "hour":
            return dates
        times = [f"{hour:02}:{minute:02}:{second:02}" for hour, minute, second in self._times()]
        return [f"{date} {time}" for date, time in zip(dates, times, strict=True)]

    def thinned(self, limit: int = limits.BUCKETS.value) -> "tuple[Ticks, NDArray[np.intp]]":
        """Return every n-th bucket, the last one included, and their indexes, so that there are at most ``limit``."""
        step = -(-len(self) // limit)
        rows = np.arange((len(self) - 1) % step, len(self), step)
        return Ticks(self.starts[rows], self.clock[rows], self.interval), rows

    def _dates(self) -> "zip[tuple[int, int, int]]":
        day = (self.clock // _SECONDS_OF_A_DAY).astype("M8[D]")
        month = day.astype("M8[M]")
        year = month.astype("M8[Y]").astype(np.int64) + 1970
        return zip(
            year.tolist(),
            (month.astype(np.int64) % 12 + 1).tolist(),
            ((day - month).astype(np.int64) + 1).tolist(),
            strict=True,
        )

    def _times(self) -> "zip[tuple[int, int, int]]":
        hour, rest = np.divmod(self.clock % _SECONDS_OF_A_DAY, 3600)
        minute, second = np.divmod(rest, 60)
        return zip(hour.tolist(), minute.tolist(), second.tolist(), strict=True)


def always() -> Ticks:
    """Return a single bucket that holds all times."""
    return Ticks(np.array([np.iinfo(np.int64).min]), np.zeros(1, np.int64), "day")


def ticks(
    start: dt.datetime,
    end: dt.datetime,
    interval: Interval,
    timezone: ZoneInfo,
    limit: int = limits.COUNTED_BUCKETS.value,
) -> Ticks:
    """Return the buckets from the one that holds ``start`` to the one that holds ``end``.

    Days, weeks (from Sunday) and months follow the calendar: when the clock changes, a day has 23 or 25 hours, and it
    begins at one o'clock where midnight does not exist. Equal buckets are computed once and shared.

    Raises
    ------
    ValueError
        When ``end`` is before ``start``; ``TooManyBuckets`` when there would be more than ``limit``.
    """
    first, last = _bounds(start, end, interval, timezone)
    count = _count(first, last, interval)
    if count > limit:
        raise TooManyBuckets(f"{interval}s from {start} to {end} are more than {limit:,} intervals")
    return _hours(first, count, timezone) if interval == "hour" else _dates(first.date(), count, interval, timezone)


def count_ticks(start: dt.datetime, end: dt.datetime, interval: Interval, timezone: ZoneInfo) -> int:
    """Return the number of buckets from the one that holds ``start`` to the one that holds ``end``."""
    return _count(*_bounds(start, end, interval, timezone), interval)


def _bounds(
    start: dt.datetime, end: dt.datetime, interval: Interval, timezone: ZoneInfo
) -> tuple[dt.datetime, dt.datetime]:
    """Return the beginning of the first bucket, and the end: in UTC for hours, else by the clock of the time zone."""
    if end < start:
        raise ValueError(f"the end {end} is before the start {start}")
    first, last = start.astimezone(timezone), end.astimezone(timezone)
    if interval == "hour":  # steps of absolute time, so that an hour that the clock repeats is two buckets
        return first.replace(minute=0, second=0, microsecond=0).astimezone(dt.UTC), last.astimezone(dt.UTC)
    if interval == "week":
        first -= ((first.weekday() + 1) % 7) * _DAY
    elif interval == "month":
        first = first.replace(day=1)
    return first, last


def _count(first: dt.datetime, last: dt.datetime, interval: Interval) -> int:
    if interval == "hour":
        return (last - first) // _HOUR + 1
    if interval == "month":
        return 12 * (last.year - first.year) + last.month - first.month + 1
    return (last.date().toordinal() - first.date().toordinal()) // (7 if interval == "week" else 1) + 1


@functools.lru_cache(maxsize=32)  # at most 1.6 MB each
def _hours(first: dt.datetime, count: int, timezone: ZoneInfo) -> Ticks:
    seconds = (first - _EPOCH) // _SECOND + 3600 * np.arange(count, dtype=np.int64)
    return Ticks(seconds * _MICROSECONDS_OF_A_SECOND, seconds + _offsets(first, count, timezone), "hour")


def _offsets(first: dt.datetime, count: int, timezone: ZoneInfo) -> NDArray[np.int64]:
    """Return the seconds that a time zone is ahead of UTC in each of some hours.

    They are looked up once a day, and hour by hour on the days on which they change.
    """

    def look_up(hours: Sequence[int]) -> list[int]:
        return [_seconds((first + hour * _HOUR).astimezone(timezone).utcoffset()) for hour in hours]

    marks = [*range(0, count, _HOURS_BETWEEN_LOOKUPS), count - 1]
    known = np.array(look_up(marks))
    offsets = np.repeat(known, np.diff([*marks, count]))
    for place in np.flatnonzero(np.diff(known)).tolist():
        hours = range(marks[place], marks[place + 1])
        offsets[hours.start : hours.stop] = look_up(hours)
    return offsets


@functools.lru_cache(maxsize=32)
def _dates(first: dt.date, count: int, interval: Interval, timezone: ZoneInfo) -> Ticks:
    if interval == "month":
        months = (first.year - 1970) * 12 + first.month - 1 + np.arange(count)
        days = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    else:
        days = first.toordinal() - _EPOCH.toordinal() + (7 if interval == "week" else 1) * np.arange(count)
    epoch = _EPOCH.toordinal()
    midnights = (dt.datetime.combine(dt.date.fromordinal(epoch + day), dt.time(), timezone) for day in days.tolist())
    offsets = np.fromiter((_seconds(midnight.utcoffset()) for midnight in midnights), np.int64, count)
    clock = days.astype(np.int64) * _SECONDS_OF_A_DAY
    return Ticks((clock - offsets) * _MICROSECONDS_OF_A_SECOND, clock, interval)


def _seconds(offset: dt.timedelta | None) -> int:
    if offset is None:
        raise TypeError("a time without a time zone has no offset")
    return offset // _SECOND


@dataclass(frozen=True)
class Window:
    """A half-open range of time, in microseconds since 1970 UTC: ``since`` belongs to it, ``until`` does not.

    ``is_open``: the end moves with the clock.
    """

    since: int
    until: int
    is_open: bool = False
