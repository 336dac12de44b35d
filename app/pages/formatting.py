"""Formats numbers and times for people."""

import datetime as dt
import math
from zoneinfo import ZoneInfo

NOTHING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_DIGITS = 3
_SMALLEST_SHARE = 1e-6


def format_number(value: float | None, digits: int = 4) -> str:
    """Return a number with ``digits`` significant digits; integers in full."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if float(value).is_integer() and abs(value) < 1e15:
        return _signed(f"{value:,.0f}")
    if abs(value) >= 1e9 or abs(value) < 1e-6:
        return _signed(f"{value:.{digits - 1}e}")
    return _signed(f"{value:,.{_decimals(value, digits)}f}")


def format_percentage(value: float | None) -> str:
    """Return a share in percent."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if 0 < value < _SMALLEST_SHARE:
        return f"under {100 * _SMALLEST_SHARE:g}%"
    return _signed(f"{100 * value:,.{_decimals(100 * value, _DIGITS)}f}%")


def format_change(value: float | None) -> str:
    """Return a relative change in percent, with its sign."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return _signed(f"{100 * value:+,.1f}%")


def format_probability(value: float | None) -> str:
    """Return a probability in percent; only 0 and 1 are shown as certain."""
    if value is None:
        return NOTHING
    if 0.9999 < value < 1:
        return "over 99.99%"
    if 0 < value < 0.0001:
        return "under 0.01%"
    return f"{value:.2%}"


def format_p_value(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.2g}" if value >= 1e-300 else "0"


def format_time(moment: dt.datetime | None, timezone: ZoneInfo) -> str:
    return NOTHING if moment is None else _format_date(moment.astimezone(timezone), "%b %Y, %H:%M")


def format_day(moment: dt.datetime | None, timezone: ZoneInfo) -> str:
    return NOTHING if moment is None else _format_date(moment.astimezone(timezone), "%b %Y")


def _decimals(value: float, digits: int) -> int:
    """Return the number of decimals that shows ``digits`` significant digits."""
    size = 0 if value == 0 else math.floor(math.log10(abs(value)))
    return max(0, digits - 1 - size)


def _signed(text: str) -> str:
    return text.replace("-", _MINUS, 1) if text.startswith("-") else text


def _format_date(moment: dt.datetime, rest: str) -> str:
    return f"{moment.day} {moment.strftime(rest)}"
