"""Buckets follow the calendar of the project's time zone."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from app.metrics.aggregation.calendar import Interval, ticks

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
    assert list(ticks(utc(start), utc(end), interval, UTC).days) == days


def test_labels_use_english_months_without_leading_zeros() -> None:
    assert list(ticks(utc("2020-01-02T13:20"), utc("2020-01-02T14:00"), "hour", UTC).labels) == [
        "2-Jan-2020 13:00",
        "2-Jan-2020 14:00",
    ]
    assert list(ticks(utc("2020-01-02T13:20"), utc("2020-01-02T14:00"), "day", UTC).labels) == ["2-Jan-2020"]


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
    position = list(around.days).index(day)

    assert around.starts[position] == utc(begins).timestamp() * 1e6
    assert around.starts[position + 1] - around.starts[position] == hours * 3_600_000_000


def test_repeated_hour_is_two_buckets() -> None:
    hours = ticks(utc("2022-11-06T04:30"), utc("2022-11-06T07:30"), "hour", ZoneInfo("America/New_York"))

    assert [label[-5:] for label in hours.labels] == ["00:00", "01:00", "01:00", "02:00"]


def test_time_belongs_to_bucket_that_began_last() -> None:
    days = ticks(utc("2022-11-01T00:00"), utc("2022-11-03T00:00"), "day", UTC)

    assert days.bucket(days.starts).tolist() == [0, 1, 2]
    assert days.bucket(days.starts - 1).tolist() == [-1, 0, 1]


def test_too_many_buckets_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 100,000"):
        ticks(utc("1990-01-01T00:00"), utc("2022-01-01T00:00"), "hour", UTC)
