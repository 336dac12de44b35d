"""Buckets follow the calendar of the project's time zone."""

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.common import limits
from app.metrics.aggregation.calendar import INTERVALS, Interval, TooManyBuckets, count_ticks, ticks

UTC = ZoneInfo("UTC")


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("start", "end", "interval", "days"),
    [
        ("2020-01-01T13:20", "2020-01-05T09:00", "day", ["2020-01-0" + day for day in "12345"]),
        ("2020-01-01T00:00", "2020-01-06T00:00", "day", ["2020-01-0" + day for day in "123456"]),
        ("2020-01-01T10:30", "2020-01-01T12:00", "hour", [f"2020-01-01 {hour}:00:00" for hour in (10, 11, 12)]),
        ("2022-11-02T00:00", "2022-11-14T00:00", "week", ["2022-10-30", "2022-11-06", "2022-11-13"]),
        ("2022-11-30T00:00", "2023-01-01T00:00", "month", ["2022-11-01", "2022-12-01", "2023-01-01"]),
    ],
)
def test_buckets_cover_start_and_end(start: str, end: str, interval: Interval, days: list[str]) -> None:
    assert list(ticks(utc(start), utc(end), interval, UTC).days()) == days


def test_labels_use_english_months_without_leading_zeros() -> None:
    assert list(ticks(utc("2020-01-02T13:20"), utc("2020-01-02T14:00"), "hour", UTC).labels()) == [
        "2-Jan-2020 13:00",
        "2-Jan-2020 14:00",
    ]
    assert list(ticks(utc("2020-01-02T13:20"), utc("2020-01-02T14:00"), "day", UTC).labels()) == ["2-Jan-2020"]


@pytest.mark.parametrize(
    ("zone", "day", "begins", "hours"),
    [
        ("America/New_York", "2022-03-13", "2022-03-13T05:00", 23),
        ("America/New_York", "2022-11-06", "2022-11-06T04:00", 25),
        ("America/Santiago", "2022-09-11", "2022-09-11T04:00", 23),  # from one o'clock: there is no midnight
        ("Europe/Amsterdam", "2022-10-30", "2022-10-29T22:00", 25),
    ],
)
def test_day_of_clock_change_follows_calendar(zone: str, day: str, begins: str, hours: int) -> None:
    around = ticks(
        utc(f"{day}T00:00") - dt.timedelta(days=2), utc(f"{day}T00:00") + dt.timedelta(days=3), "day", ZoneInfo(zone)
    )
    position = around.days().index(day)

    assert around.starts[position] == utc(begins).timestamp() * 1e6
    assert around.starts[position + 1] - around.starts[position] == hours * 3_600_000_000


def test_repeated_hour_is_two_buckets() -> None:
    hours = ticks(utc("2022-11-06T04:30"), utc("2022-11-06T07:30"), "hour", ZoneInfo("America/New_York"))

    assert [label[-5:] for label in hours.labels()] == ["00:00", "01:00", "01:00", "02:00"]


def test_time_belongs_to_bucket_that_began_last() -> None:
    days = ticks(utc("2022-11-01T00:00"), utc("2022-11-03T00:00"), "day", UTC)

    assert days.bucket(days.starts).tolist() == [0, 1, 2]
    assert days.bucket(days.starts - 1).tolist() == [-1, 0, 1]


def test_number_of_buckets_is_limited() -> None:
    start, limit = utc("2016-01-01T00:30"), limits.BUCKETS.value
    last = start + (limit - 1) * dt.timedelta(hours=1)

    assert len(ticks(start, last, "hour", UTC, limit)) == limit
    with pytest.raises(TooManyBuckets, match="more than 5,000 intervals"):
        ticks(start, last + dt.timedelta(hours=1), "hour", UTC, limit)


def test_equal_buckets_are_computed_once() -> None:
    start, end = utc("2022-11-01T10:10"), utc("2023-11-03T10:00")

    assert ticks(start, end, "day", UTC) is ticks(start, end + dt.timedelta(hours=9), "day", UTC)
    assert ticks(start, end, "hour", UTC) is ticks(start, end + dt.timedelta(minutes=9), "hour", UTC)


@pytest.mark.parametrize(("count", "shown"), [(3, 3), (4, 2), (7, 3)])
def test_thinned_buckets_are_few_and_include_the_last(count: int, shown: int) -> None:
    days = ticks(utc("2022-11-01T00:00"), utc(f"2022-11-0{count}T00:00"), "day", UTC)

    thinned, rows = days.thinned(3)

    assert len(thinned) == shown
    assert thinned.days()[-1] == days.days()[-1]
    assert thinned.days() == [days.days()[row] for row in rows]


# What the buckets were computed by first, step by step.
def reference(
    start: dt.datetime, end: dt.datetime, interval: Interval, timezone: ZoneInfo
) -> Iterator[tuple[int, str, str]]:
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    first, last = start.astimezone(timezone), end.astimezone(timezone)
    for moment in reference_hours(first, last) if interval == "hour" else reference_dates(first, last, interval):
        label = f"{moment.day}-{months[moment.month - 1]}-{moment.year}"
        yield (
            (moment.astimezone(dt.UTC) - utc("1970-01-01")) // dt.timedelta(microseconds=1),
            f"{label} {moment:%H:%M}" if interval == "hour" else label,
            moment.strftime("%Y-%m-%d %H:%M:%S" if interval == "hour" else "%Y-%m-%d"),
        )


def reference_hours(first: dt.datetime, last: dt.datetime) -> Iterator[dt.datetime]:
    moment = first.replace(minute=0, second=0, microsecond=0).astimezone(dt.UTC)
    while moment <= last.astimezone(dt.UTC):
        yield moment.astimezone(first.tzinfo)
        moment += dt.timedelta(hours=1)


def reference_dates(first: dt.datetime, last: dt.datetime, interval: Interval) -> Iterator[dt.datetime]:
    date = first.date()
    if interval == "week":
        date -= dt.timedelta(days=(date.weekday() + 1) % 7)
    elif interval == "month":
        date = date.replace(day=1)
    while date <= last.date():
        yield dt.datetime.combine(date, dt.time(), first.tzinfo)
        date += dt.timedelta(days={"day": 1, "week": 7, "month": 31}[interval])
        date = date.replace(day=1) if interval == "month" else date


ZONES = sorted(available_timezones())
# Half-hour changes; two hours at once; no midnight on days of change; no 30 December 2011.
ODD_ZONES = ("Australia/Lord_Howe", "Antarctica/Troll", "America/Santiago", "Asia/Beirut", "Pacific/Apia")


@given(
    st.sampled_from(ODD_ZONES) | st.sampled_from(ZONES),
    st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)),
    st.timedeltas(dt.timedelta(), dt.timedelta(days=700)),
    st.sampled_from(INTERVALS),
)
@example("Pacific/Apia", utc("2011-12-28T10:00"), dt.timedelta(days=5), "day")
@example("Pacific/Apia", utc("2011-12-28T10:00"), dt.timedelta(days=5), "hour")
@example("Australia/Lord_Howe", utc("2022-10-01T15:40"), dt.timedelta(days=200), "hour")
@example("UTC", utc("1990-01-01"), dt.timedelta(days=40_000), "day")
@example("America/Santiago", utc("1990-01-01"), dt.timedelta(days=40_000), "month")
@example("Europe/Amsterdam", utc("1990-01-01"), dt.timedelta(days=800), "hour")
def test_buckets_are_those_of_stepping_through_time(
    zone: str, start: dt.datetime, length: dt.timedelta, interval: Interval
) -> None:
    timezone, end = ZoneInfo(zone), start + length
    expected = list(reference(start, end, interval, timezone))

    found = ticks(start, end, interval, timezone)

    assert list(zip(found.starts.tolist(), found.labels(), found.days(), strict=True)) == expected
    assert count_ticks(start, end, interval, timezone) == len(expected)
