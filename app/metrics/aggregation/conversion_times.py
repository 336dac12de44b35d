"""Conversion times: averages and medians that stay exact when counts are added and subtracted."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

ExactSum = tuple[float, ...]


def exact_sum(values: Iterable[float]) -> ExactSum:
    """Return a few floats whose sum is exactly that of the values: the rounded sum, its rounding error, and so on.

    Notes
    -----
    Each part is the correctly rounded sum of the values minus the parts before it (Shewchuk's expansions [1]_, by
    ``math.fsum``), so ``math.fsum(parts)`` is the correctly rounded sum of the values, in any order.

    References
    ----------
    .. [1] Shewchuk, "Adaptive Precision Floating-Point Arithmetic", *Discrete & Computational Geometry* 18 (1997).
    """
    values = list(values)
    parts: list[float] = []
    while part := math.fsum(chain(values, (-part for part in parts))):
        parts.append(part)
    return tuple(parts)


class _Packed(msgspec.Struct, array_like=True):
    """Non-negative integers, each in as few bytes as the largest needs."""

    kind: str
    body: bytes

    @classmethod
    def of(cls, numbers: NDArray[np.int64]) -> Self:
        kind = np.min_scalar_type(int(numbers.max(initial=0)))
        return cls(kind.str, numbers.astype(kind).tobytes())

    def unpack(self) -> NDArray[np.int64]:
        return np.frombuffer(self.body, self.kind).astype(np.int64)


class StoredTimes(msgspec.Struct, array_like=True):
    """Conversion times in a compact form, because all of them are written whenever a count changes.

    ``gaps`` are half seconds from one distinct median to the next.
    """

    total: ExactSum
    gaps: _Packed
    counts: _Packed


@dataclass(frozen=True)
class ConversionTimes:
    """How long actors took from one step to the next: the average and the median of each actor's attempts.

    Attributes
    ----------
    total : ExactSum
        Seconds: the sum of the averages.
    values, counts : float64[m], int64[m]
        The distinct medians in ascending order, which are whole or half seconds, and how many actors have each.
    """

    total: ExactSum
    values: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, averages: NDArray[np.float64], medians: NDArray[np.float64]) -> Self:
        """Return the conversion times of actors, from one average and one median of each."""
        values, counts = np.unique(medians, return_counts=True)
        return cls(exact_sum(averages.tolist()), values, counts.astype(np.int64))

    def __add__(self, other: Self) -> Self:
        return self._combined(other, 1)

    def __sub__(self, other: Self) -> Self:
        return self._combined(other, -1)

    def _combined(self, other: Self, sign: int) -> Self:
        values, place = np.unique(np.concatenate((self.values, other.values)), return_inverse=True)
        # Exact: counts are far below 2 ** 53.
        counts = np.bincount(place, np.concatenate((self.counts, sign * other.counts)), len(values)).astype(np.int64)
        total = exact_sum((*self.total, *(sign * part for part in other.total)))
        return type(self)(total, values[counts != 0], counts[counts != 0])

    @property
    def average(self) -> float:
        """Mean over actors; nan without actors."""
        actors = int(self.counts.sum())
        return math.fsum(self.total) / actors if actors else math.nan

    @property
    def median(self) -> float:
        """Median over actors, the mean of the two middle values for an even number of actors; nan without actors."""
        ends = np.cumsum(self.counts)
        actors = int(ends[-1]) if len(ends) else 0
        if not actors:
            return math.nan
        middle = np.searchsorted(ends, [(actors - 1) // 2, actors // 2], side="right")
        return float(self.values[middle].sum() / 2)

    def to_stored(self) -> StoredTimes:
        halves = np.rint(self.values * 2).astype(np.int64)
        gaps = np.ediff1d(halves, to_begin=halves[:1])
        return StoredTimes(self.total, _Packed.of(gaps), _Packed.of(self.counts))

    @classmethod
    def from_stored(cls, stored: StoredTimes) -> Self:
        return cls(stored.total, np.cumsum(stored.gaps.unpack()) / 2, stored.counts.unpack())
