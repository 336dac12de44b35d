"""Numbers as people read them, in every published text: of the API, of pages and of reports."""

import math
from collections.abc import Callable
from typing import Final

NOTHING: Final = "\N{EN DASH}"
_MINUS: Final = "\N{MINUS SIGN}"
_DIGITS: Final = 3
_SMALLEST_SHARE: Final = 1e-6
_SMALLEST_P_VALUE: Final = 1e-4
_LARGEST_WRITTEN: Final = 1e15
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_number(value: float | None, digits: int = 4) -> str:
    """Return a number with ``digits`` significant digits; integers in full."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if float(value).is_integer() and abs(value) < _LARGEST_WRITTEN:
        return _signed(f"{value:,.0f}")
    if abs(value) >= _LARGEST_WRITTEN or abs(value) < _SMALLEST_SHARE:
        return _signed(_power_of_ten(value, digits))
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
    if abs(value) >= _LARGEST_WRITTEN:
        return _signed(f"{'+' if value > 0 else ''}{_power_of_ten(100 * value, _DIGITS)}%")
    return _signed(f"{100 * value:+,.{_decimals_of_change(value)}f}%")


def format_probability(value: float | None) -> str:
    """Return a probability in percent. Data leave nothing certain, also where the nearest float is 0 or 1."""
    if value is None:
        return NOTHING
    if value > 0.9999:
        return "over 99.99%"
    if value < 0.0001:
        return "under 0.01%"
    return f"{value:.2%}"


def format_p_value(value: float | None) -> str:
    """Return a p-value as an equation, such as ``p = 0.031``; small ones as ``p < 0.0001``."""
    if value is None:
        return NOTHING
    return f"p = {value:.2g}" if value >= _SMALLEST_P_VALUE else f"p < {_SMALLEST_P_VALUE:.4f}"


def format_chosen_share(share: float) -> str:
    """Return a share that people chose, such as a confidence level, in percent and without idle zeros."""
    return f"{100 * share:.4g}%"


def choose_format(*, is_share: bool) -> Callable[[float | None], str]:
    """Return how the means of a metric are written: shares in percent."""
    return format_percentage if is_share else format_number


def _decimals(value: float, digits: int) -> int:
    """Return the number of decimals that shows ``digits`` significant digits."""
    size = 0 if value == 0 else math.floor(math.log10(abs(value)))
    return max(0, digits - 1 - size)


def _decimals_of_change(value: float) -> int:
    """Return one decimal, and as many as two digits need where that would show nothing."""
    percent = abs(100 * value)
    return 1 if percent >= 0.1 or percent < 1e-6 else 1 - math.floor(math.log10(percent))


def _power_of_ten(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa} \N{MULTIPLICATION SIGN} 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def _signed(text: str) -> str:
    return text.replace("-", _MINUS, 1) if text.startswith("-") else text
