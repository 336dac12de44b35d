"""Conversions between exact fractions and floats."""

import math
from fractions import Fraction


def to_float(number: Fraction) -> float:
    """Return the nearest float; infinity beyond the largest."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
