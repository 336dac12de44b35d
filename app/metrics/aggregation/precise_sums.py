"""Sums of floats to 32 digits, by group: each is held as the nearest float and what is left of it.

References
----------
.. [1] T. J. Dekker, "A floating-point technique for extending the available precision", *Numerische Mathematik* 18
   (1971).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.person_values import Floats, Rows

_BITS = 26  # of 53: multiples of one power of two with this number of bits add up exactly, 2 ** 26 of them
_SPLITTER = 2.0**27 + 1


class Sums(NamedTuple):
    """Sums as the nearest floats and what is left of them."""

    high: Floats
    low: Floats


def add(first: Sums, second: Sums) -> Sums:
    """Return the sums of sums."""
    high, low = _two_sum(first.high, second.high)
    return Sums(*_two_sum(high, low + first.low + second.low))


def summed(group: Rows, values: Floats, groups: int, *, is_whole: bool = False) -> Sums:
    """Return the sum of the values of each group; of whole numbers it is exact up to 2 ** 53."""
    largest = float(np.max(np.abs(values), initial=0.0))
    if is_whole or not 1e-250 < largest < 1e250:  # also 0, not finite, or close to what floats can hold
        total = _totals(group, values, groups)
        return Sums(total, np.zeros_like(total))
    unit = np.ldexp(1.0, int(np.frexp(largest)[1]) - _BITS)
    high, rest = _rounded(values, unit)
    middle, rest = _rounded(rest, np.ldexp(unit, -_BITS))
    exact = Sums(*_two_sum(_totals(group, high, groups), _totals(group, middle, groups)))
    return Sums(*_two_sum(exact.high, exact.low + _totals(group, rest, groups)))


def summed_products(group: Rows, first: Floats, second: Floats, groups: int, *, is_whole: bool = False) -> Sums:
    """Return the sum of the products of each group; see ``summed``."""
    products = first * second
    found = summed(group, products, groups, is_whole=is_whole)
    if is_whole:
        return found
    (a, b), (c, d) = _halves(first), _halves(second)
    errors = ((a * c - products) + a * d + b * c) + b * d
    left = _totals(group, np.where(np.isfinite(errors), errors, 0.0), groups)  # else the product is close to overflow
    return Sums(*_two_sum(found.high, found.low + left))


def _rounded(values: Floats, unit: float) -> tuple[Floats, Floats]:
    high = np.rint(values / unit) * unit
    return high, values - high


def _halves(values: Floats) -> tuple[Floats, Floats]:
    """Split floats into two of half the bits, whose products are exact [1]_."""
    scaled = _SPLITTER * values
    high = scaled - (scaled - values)
    return high, values - high


def _two_sum(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return a sum and its rounding error."""
    total = first + second
    part = total - first
    return total, (first - (total - part)) + (second - part)


def _totals(group: Rows, values: Floats, groups: int) -> NDArray[np.float64]:
    return np.bincount(group, weights=values, minlength=groups).astype(np.float64)
