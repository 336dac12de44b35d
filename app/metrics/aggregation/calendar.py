"""Calendar buckets: hours, days, weeks and months in a project's time zone."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Interval: TypeAlias = Literal["hour", "day", "week", "month"]

INTERVALS: tuple[Interval, ...] = ("hour", "day", "week", "month")
MAX_TICKS = 100_000

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_HOUR = dt.timedelta(hours=1)
_DAY = dt.timedelta(days=1)
_MONTHS = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)  # independent of the locale


@dataclass(frozen=True)
class Ticks:
    """Consecutive buckets of time.

    Attributes
    ----------
    starts : int64[n]
        First microsecond (since 1970 UTC) of each bucket, ascending. A bucket ends where the next one starts.
    labels, days : sequences of n strings
        ``2-Jan-2020`` and ``2020-01-02``; for hours ``2-Jan-2020 13:00`` and ``2020-01-02 13:00:00``.
    """

    starts: NDArray[np.int64]
    labels: Sequence[str]
    days: Sequence[str]

    def __len__(self) -> int:
        return len(self.starts)

    def bucket(self, times: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the bucket of each time (-1 before the first)."""
        return np.searchsorted(self.starts, times, side="right") - 1


def ticks(start: dt.datetime, end: dt.datetime, interval: Interval, timezone: ZoneInfo) -> Ticks:
    """Return the buckets from the one that holds ``start`` to the one that holds ``end``.

    Days, weeks (from Sunday) and months follow the calendar: when the clock changes, a day has 23 or 25 hours, and it
    begins at one o'clock where midnight does not exist.

    Raises
    ------
    ValueError
        When ``end`` is before ``start``, or there would be more than ``MAX_TICKS`` buckets.
    """
    if end < start:
        raise ValueError(f"the end {end} is before the start {start}")
    hours = (end - start) / _HOUR
    per_hour = {"hour": 1, "day": 1 / 24, "week": 1 / 168, "month": 1 / 720}[interval]
    if hours * per_hour > MAX_TICKS - 2:
        raise ValueError(f"{interval}s from {start} to {end} are more than {MAX_TICKS:,} buckets")
    first, last = start.astimezone(timezone), end.astimezone(timezone)
    locals_ = list(_hours(first, last) if interval == "hour" else _dates(first, last, interval))
    microseconds = [(moment.astimezone(dt.UTC) - _EPOCH) // _MICROSECOND for moment in locals_]
    return Ticks(
        np.array(microseconds, dtype=np.int64),
        [_label(moment, interval) for moment in locals_],
        [moment.strftime("%Y-%m-%d %H:%M:%S" if interval == "hour" else "%Y-%m-%d") for moment in locals_],
    )


def _hours(first: dt.datetime, last: dt.datetime) -> Iterator[dt.datetime]:
    """Step through absolute time, so that an hour that the clock repeats is two buckets."""
    moment = first.replace(minute=0, second=0, microsecond=0).astimezone(dt.UTC)
    end = last.astimezone(dt.UTC)
    while moment <= end:
        yield moment.astimezone(first.tzinfo)
        moment += _HOUR


def _dates(first: dt.datetime, last: dt.datetime, interval: Interval) -> Iterator[dt.datetime]:
    date, end = first.date(), last.date()
    if interval == "week":
        date -= dt.timedelta(days=(date.weekday() + 1) % 7)
    elif interval == "month":
        date = date.replace(day=1)
    while date <= end:
        yield dt.datetime.combine(date, dt.time(), first.tzinfo)
        date = _next(date, interval)


def _next(date: dt.date, interval: Interval) -> dt.date:
    if interval == "month":
        return (date + 31 * _DAY).replace(day=1)
    return date + (7 * _DAY if interval == "week" else _DAY)


def _label(moment: dt.datetime, interval: Interval) -> str:
    label = f"{moment.day}-{_MONTHS[moment.month - 1]}-{moment.year}"
    return f"{label} {moment:%H:%M}" if interval == "hour" else label


@dataclass(frozen=True)
class Window:
    """A half-open range of time, in microseconds since 1970 UTC: ``since`` belongs to it, ``until`` does not.

    ``is_open``: the end moves with the clock.
    """

    since: int
    until: int
    is_open: bool = False
