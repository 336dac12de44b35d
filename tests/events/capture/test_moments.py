"""The dates and times that clients write, and those that they do not mean."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.events.capture.decoding.moments import read_epoch, read_moment

MOMENT = dt.datetime(2025, 7, 25, 0, 10, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2025-07-25T00:10:00Z",
        "2025-07-25t00:10:00z",
        "2025-07-25 00:10:00 UTC",
        "2025-07-25 00:10:00 +0000 UTC",
        "2025-07-25 00:10:00 +0000 UTC m=+0.000012",
        "2025-07-25 02:10:00 +0200",
        "2025-7-25T0:10:00Z",
        "2025-07-25T00:10:00.000000000Z",
        "2025-07-25T00:10:00Z[Etc/UTC]",
        "2025-07-25T02:10:00+02:00[Europe/Berlin]",
        "+002025-07-25T00:10:00.000Z",
        "20250725T001000Z",
        "20250725001000",
        "2025/07/25 00:10:00",
        "07/25/2025 00:10:00",
        "7/25/2025, 12:10:00 AM",
        "Fri, 25 Jul 2025 00:10:00 GMT",
        "Fri, 25 Jul 2025 02:10:00 +0200",
        "25 Jul 25 00:10 UT",
        "24 Jul 2025 20:10:00 EDT",
        "Fri Jul 25 2025 00:10:00 GMT+0000 (Coordinated Universal Time)",
        "Thu Jul 24 2025 20:40:00 GMT-0330 (Newfoundland Standard Time)",
        "Fri Jul 25 00:10:00 UTC 2025",
        "Fri Jul 25 00:10:00 2025",
        "July 25, 2025 00:10:00",
        " 1753402200 ",
        "1753402200.0",
        "1753402200000",
        "1753402200000000",
        "1753402200000000000",
        "2025-07-25T00:09:60Z",  # a leap second
    ],
)
def test_the_same_moment_is_read_from_every_way_to_write_it(text: str) -> None:
    assert read_moment(text) == MOMENT


@pytest.mark.parametrize(
    "text",
    [
        *("yesterday", "now", "NaN", "Infinity", "null", "", " ", "-", "5", "1.5", "May", "12:30", "2025", "٤٢" * 5),
        *("25/07/2025", "2025-02-30T00:00:00Z", "2025-13-01", "2025-07-25T25:00:00Z", "2025-07-25T24:00:01Z"),
        *("2025-07-25 00:10:00 CET", "2025-07-25 13:10 PM", "2025-07-25 00:10 EST+0100", "2025-07-25T00:10:00+25:00"),
        *("2025-07-25 00:10:00 or so", "9" * 18, "9" * 30, "1e9", "-1753402200", "2025-07-25T00:10:61Z"),
        "mon" + " " * 96 + "x",
    ],
)
def test_text_that_says_anything_else_is_not_read(text: str) -> None:
    assert read_moment(text) is None


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (1753402200, MOMENT),
        (1753402200.25, MOMENT + dt.timedelta(milliseconds=250)),
        (1753402200000, MOMENT),
        (1753402200000000, MOMENT),
        (1753402200000000000, MOMENT),
        (0, None),
        (-1, None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
    ],
)
def test_unit_of_a_number_follows_from_its_size(number: float, moment: dt.datetime | None) -> None:
    assert read_epoch(number) == moment


FORMATS = (
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%Y/%m/%d %H:%M:%S.%f %z",
    "%m/%d/%Y %H:%M:%S.%f %z",
    "%a, %d %b %Y %H:%M:%S.%f %z",
    "%a %b %d %Y %H:%M:%S.%f GMT%z (Somewhere)",
    "%B %d, %Y %I:%M:%S.%f %p %z",
)
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
YEARS = dt.datetime(1970, 1, 2), dt.datetime(2199, 12, 30)  # as Hypothesis takes them


@given(st.datetimes(*YEARS, timezones=ZONES), st.sampled_from(FORMATS))
def test_moment_of_any_zone_is_read_as_it_was_written(moment: dt.datetime, form: str) -> None:
    assert read_moment(moment.strftime(form)) == moment
