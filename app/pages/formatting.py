"""Formats numbers and times for people."""

import datetime as dt
from zoneinfo import ZoneInfo

from app.common.number_texts import (
    NOTHING,
    format_change,
    format_number,
    format_p_value,
    format_percentage,
    format_probability,
)

__all__ = [
    "NOTHING",
    "format_change",
    "format_day",
    "format_number",
    "format_p_value",
    "format_percentage",
    "format_probability",
    "format_time",
]


def format_time(moment: dt.datetime | None, timezone: ZoneInfo) -> str:
    return NOTHING if moment is None else _format_date(moment.astimezone(timezone), "%b %Y, %H:%M")


def format_day(moment: dt.datetime | None, timezone: ZoneInfo) -> str:
    return NOTHING if moment is None else _format_date(moment.astimezone(timezone), "%b %Y")


def _format_date(moment: dt.datetime, rest: str) -> str:
    return f"{moment.day} {moment.strftime(rest)}"
