from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.properties.dates import ParsedDate, parse_moment

FIFTH = datetime(2022, 11, 5, tzinfo=UTC)
TEN = datetime(2022, 11, 5, 10, 0, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2022-11-05", ParsedDate(FIFTH, is_date=True)),
        (" 2022-11-5 ", ParsedDate(FIFTH, is_date=True)),
        ("2022/11/05", ParsedDate(FIFTH, is_date=True)),
        ("5/11/2022", ParsedDate(FIFTH, is_date=True)),
        ("5-11-2022", ParsedDate(FIFTH, is_date=True)),
        ("05-11-2022 10:00:07", ParsedDate(TEN, is_date=False)),
        ("20221105", ParsedDate(FIFTH, is_date=True)),
        ("2022-11-05 and more", ParsedDate(FIFTH, is_date=True)),
        ("2022-11-05T00:00", ParsedDate(FIFTH, is_date=False)),
        ("2022-11-05 10:00:07", ParsedDate(TEN, is_date=False)),
        ("2022-11-05T10:00:07.5Z", ParsedDate(TEN.replace(microsecond=500_000), is_date=False)),
        ("2022-11-05T12:00:07+02:00", ParsedDate(TEN, is_date=False)),
        ("2022-11-05T06:30:07-0330", ParsedDate(TEN, is_date=False)),
        ("2022-11-05 12:00:07 +02", ParsedDate(TEN, is_date=False)),
        ("05/11/2022 10:00:07", ParsedDate(TEN, is_date=False)),
        ("20221105100007", ParsedDate(TEN, is_date=False)),
        ("Sat, 05 Nov 2022 12:00:07 +0200", ParsedDate(TEN, is_date=False)),
        ("05 Nov 2022 10:00:07 -0000", ParsedDate(TEN, is_date=False)),
        ("0001-01-01T00:00+23:00", ParsedDate(datetime(1, 1, 1, tzinfo=UTC), is_date=True)),
        ("1667642407", ParsedDate(TEN, is_date=False)),
        ("1667642407999", ParsedDate(TEN, is_date=False)),
        ("1667642407.5", ParsedDate(TEN, is_date=False)),
        ("999999999", ParsedDate(datetime(2001, 9, 9, 1, 46, 39, tzinfo=UTC), is_date=False)),
        ("1612052800000", ParsedDate(datetime(2021, 1, 31, 0, 26, 40, tzinfo=UTC), is_date=False)),
    ],
)
def test_moment_is_read_in_utc(text: str, moment: ParsedDate) -> None:
    assert parse_moment(text) == moment


@pytest.mark.parametrize(
    "text", ["", "soon", "null", "2022-13-05", "2022-11-31", "31/02/2022", "12345", "2022-11", "a" * 10_000]
)
def test_text_that_is_not_a_moment_is_none(text: str) -> None:
    assert parse_moment(text) is None


@given(st.text(max_size=40) | st.from_regex(r"[0-9T:+,\-/ .ZJan()]{0,30}", fullmatch=True))
def test_any_text_is_parsed_without_an_error(text: str) -> None:
    moment = parse_moment(text)

    assert moment is None or moment.at.tzinfo is UTC
