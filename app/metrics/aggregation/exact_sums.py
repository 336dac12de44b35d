"""Exact sums of floats by group.

Every float is a whole number of the smallest one, 2 ** -1074: sums are held as whole numbers of these. They do not
depend on the order of what is added, and what is taken out again leaves nothing behind.

References
----------
.. [1] T. J. Dekker, "A floating-point technique for extending the available precision", *Numerische Mathematik* 18
   (1971).
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

_SMALLEST: Final = -1074  # the exponent of the smallest float
_LARGEST: Final = 1 << (1024 - _SMALLEST)
_BITS: Final = 26  # of 53: multiples of one power of two with this number of bits add up exactly, 2 ** 26 of them
_SPLITTER: Final = 2.0**27 + 1


def exact_totals(
    group: NDArray[np.int64], values: Floats, groups: int, times: NDArray[np.int64] | None = None
) -> list[int]:
    """Return the sum of the finite values of each group, as a whole number of the smallest float.

    ``times`` says how often each value is added, once unless it is given; at most 2 ** 26 values in all.
    """
    totals = [0] * groups
    while len(values):
        exponent = int(np.frexp(np.max(np.abs(values)))[1])
        place = max(exponent - _BITS, _SMALLEST)
        unit = np.ldexp(1.0, place)
        high = np.rint(values / unit)
        weights = high if times is None else high * times
        for number, total in enumerate(np.bincount(group, weights=weights, minlength=groups).tolist()):
            if total:
                totals[number] += int(total) << (place - _SMALLEST)
        rest = values - high * unit
        left = rest != 0
        group, values = group[left], rest[left]
        times = None if times is None else times[left]
    return totals


def products(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return products and their rounding errors, 0 where a product is so large that its error cannot be told [1]_."""
    rounded = first * second
    (a, b), (c, d) = _halves(first), _halves(second)
    errors = ((a * c - rounded) + a * d + b * c) + b * d
    return rounded, np.where(np.isfinite(errors), errors, 0.0)


def _halves(values: Floats) -> tuple[Floats, Floats]:
    scaled = _SPLITTER * values
    high = scaled - (scaled - values)
    return high, values - high


def as_fraction(total: int) -> Fraction:
    """Return a sum as a number."""
    return Fraction(total, 1 << -_SMALLEST)


def is_within_floats(totals: Sequence[int]) -> bool:
    """Whether all sums are smaller than the largest float."""
    return all(-_LARGEST < total < _LARGEST for total in totals)
