"""Sums over exposed persons of their values, by variant and bucket of time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain, combinations
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.counts import BucketedCounts
from app.metrics.aggregation.exact_sums import as_fraction, exact_totals, is_within_floats, products
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.person_values import Floats, PersonValues, Rows


@dataclass(frozen=True)
class Outliers:
    """Which values are moved to a cap (winsorizing): those beyond a quantile of all persons' values, in 0 to 1.

    ``ignores_zeros``: the upper quantile is that of the values other than 0. ``excluded``: variants, from 0, whose
    persons are not among those all.
    """

    lower: float | None = None
    upper: float | None = None
    ignores_zeros: bool = False
    excluded: Sequence[int] = ()

    def caps(self, values: Floats) -> tuple[float, float]:
        """Return the lower and the upper cap; infinite where there is none."""
        ordered = np.sort(values)
        lower = -np.inf if self.lower is None else _quantile(ordered, self.lower, -np.inf)
        if self.upper is None:
            return lower, np.inf
        return lower, _quantile(ordered[ordered != 0] if self.ignores_zeros else ordered, self.upper, np.inf)


def _quantile(ordered: Floats, level: float, default: float) -> float:
    """Return the value at the position ``floor(level * n)`` from 0, the last one at level 1."""
    if not len(ordered):
        return default
    return float(ordered[min(int(level * len(ordered)), len(ordered) - 1)])


class _Stored(msgspec.Struct, array_like=True):
    shape: list[int]
    shift: int  # the sums are multiples of this power of two
    sums: list[bytes]
    infinite: int
    caps: list[list[float]]
    flat: list[int]


@dataclass(frozen=True)
class ValueCounts(BucketedCounts):
    """Exact sums over exposed persons of one or more values of each: a number, or a numerator and a denominator.

    Attributes
    ----------
    cumulative : int object[1 + s, k, b]
        Persons; then s sums as ``exact_totals`` gives them: those of each value and of its squares, one value after the
        other, and then those of the products of each two values.
    infinite : int
        How often a value, or the product of two, was not a finite number. It is not in the sums.
    capped : float64[values, 4]
        Of each value that has outliers, at the end: the lower and the upper cap, and the persons below and above.
    flat : int64[b]
        1 where caps take away all that values differ by, so that sums say nothing; else 0.
    """

    cumulative: NDArray[np.object_]
    infinite: int
    capped: Floats
    flat: NDArray[np.int64]

    padding = "edge"
    bucketed = ("cumulative", "flat")

    @property
    def is_finite(self) -> bool:
        return not self.infinite and is_within_floats(self.cumulative[1:].ravel().tolist())

    def moments(self, bucket: int) -> list[list[Fraction]]:
        """Return the persons and the sums of each variant at the end of a bucket."""
        return [
            [Fraction(persons), *map(as_fraction, sums)] for persons, *sums in self.cumulative[:, :, bucket].T.tolist()
        ]

    def _combined(self, other: Self, combine: Callable[[Any, Any], Any]) -> Self:
        """Return the combination of counts without outliers, which have no caps."""
        cumulative = combine(self.cumulative, other.cumulative)
        return type(self)(cumulative, combine(self.infinite, other.infinite), self.capped, self.flat)

    def to_bytes(self) -> bytes:
        """Return the counts as ``Counts.to_bytes`` does; of the sums only the digits that any of them has."""
        sums = self.cumulative[1:].ravel().tolist()
        every = 0
        for one in sums:
            every |= abs(one)
        shift = (every & -every).bit_length() - 1 if every else 0
        numbers = [*self.cumulative[0].ravel().tolist(), *(one >> shift for one in sums)]
        texts = [number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True) for number in numbers]
        return msgspec.msgpack.encode(
            _Stored(list(self.cumulative.shape), shift, texts, self.infinite, self.capped.tolist(), self.flat.tolist())
        )

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Return the counts that ``to_bytes`` wrote."""
        stored = msgspec.msgpack.decode(body, type=_Stored)
        numbers = [int.from_bytes(text, "big", signed=True) for text in stored.sums]
        cumulative = np.array(numbers, dtype=np.object_).reshape(stored.shape)
        cumulative[1:] <<= stored.shift
        caps = np.array(stored.caps, dtype=np.float64).reshape(-1, 4)
        return cls(cumulative, stored.infinite, caps, np.array(stored.flat, dtype=np.int64))


@dataclass(frozen=True)
class SummedValue:
    """A value of persons, and what is done to it before it is summed up.

    ``threshold``: the value is 1 where it is at least that, else 0.
    """

    values: PersonValues
    outliers: Outliers | None = None
    threshold: float | None = None

    def apply_threshold(self, values: Floats) -> Floats:
        return values if self.threshold is None else (values >= self.threshold).astype(np.float64)


@np.errstate(over="ignore", invalid="ignore")
def sum_values(
    ledger: Ledger, entry: NDArray[np.int64], values: Sequence[SummedValue], ticks: Ticks, variant_count: int
) -> ValueCounts:
    """Sum up the values of each person by variant.

    Parameters
    ----------
    ledger
        Persons of one variant each.
    entry : int64[n]
        From when on each of them is counted.
    """
    entered, buckets = ticks.bucket(entry).astype(np.int64), len(ticks)
    persons = np.zeros((variant_count, buckets), dtype=np.int64)
    np.add.at(persons, (ledger.slot, entered), 1)
    capped = np.full((len(values), 4), (np.nan, np.nan, 0.0, 0.0))
    if any(one.outliers is not None for one in values):
        found = _sum_capped(ledger.slot, entered, values, (variant_count, buckets), capped)
    else:
        found = _sum_changes(ledger.slot, entered, values, (variant_count, buckets))
    sums = np.array(found.totals, dtype=np.object_).reshape(-1, variant_count, buckets)
    cumulative = np.concatenate([np.cumsum(persons, axis=1).astype(np.object_)[np.newaxis], sums])
    return ValueCounts(cumulative, found.infinite, capped, found.flat)


@dataclass(frozen=True)
class _Totals:
    """Sums of each kind, variant and bucket, in this order; for ``flat`` see ``ValueCounts``."""

    totals: list[int]
    infinite: int
    flat: NDArray[np.int64]


def _sum_changes(
    slot: Rows, entered: NDArray[np.int64], values: Sequence[SummedValue], shape: tuple[int, int]
) -> _Totals:
    """Sum up values by their changes: each is added in its bucket, and taken out where the next one of its person is.

    That costs what changes, and not the persons in every bucket: the sums are exact.
    """
    variant_count, buckets = shape
    keys = [one.values.row * buckets + np.maximum(one.values.bucket, entered[one.values.row]) for one in values]
    cells = np.unique(np.concatenate(keys))
    row, bucket = cells // buckets, cells % buckets
    is_followed = np.append(row[1:] == row[:-1], np.zeros(min(len(row), 1), dtype=np.bool_))
    place = slot[row] * buckets
    group = np.concatenate([place + bucket, place[is_followed] + np.append(bucket[1:], 0)[is_followed]])
    filled = [one.apply_threshold(_filled(one.values, key, cells, row)) for one, key in zip(values, keys, strict=True)]
    totals: list[int] = []
    infinite = 0
    for parts in _terms(filled):
        sums = [0] * (variant_count * buckets)
        infinite += int((~np.isfinite(parts[0])).sum())
        for part in parts:
            changes = np.where(np.isfinite(part), part, 0.0)
            changes = np.concatenate([changes, -changes[is_followed]])
            sums = [one + more for one, more in zip(sums, exact_totals(group, changes, len(sums)), strict=True)]
        for variant in range(variant_count):
            totals += accumulate(sums[variant * buckets : (variant + 1) * buckets])
    return _Totals(totals, infinite, np.zeros(buckets, dtype=np.int64))


def _filled(values: PersonValues, keys: Rows, cells: Rows, row: Rows) -> Floats:
    """Return the value that holds in each cell: that of the last change of its person up to there, 0 before."""
    own = np.full(len(cells), np.nan)
    is_set = np.zeros(len(cells), dtype=np.bool_)
    at = np.searchsorted(cells, keys)
    own[at], is_set[at] = values.value, True  # of several changes in one cell, the last one
    index = np.arange(len(cells))
    last = np.maximum.accumulate(np.where(is_set, index, -1)) if len(cells) else index
    holds = (last >= 0) & (row[last] == row)
    return np.where(holds, own[last], 0.0)


def _terms(values: Sequence[Floats]) -> Iterator[Sequence[Floats]]:
    """Yield what is summed up, as floats that add up to it: of each value itself and its square, then products."""
    yield from chain.from_iterable(((one,), products(one, one)) for one in values)
    yield from (products(first, second) for first, second in combinations(values, 2))


def _sum_capped(
    slot: Rows, entered: NDArray[np.int64], values: Sequence[SummedValue], shape: tuple[int, int], capped: Floats
) -> _Totals:
    """Sum up values bucket by bucket: the caps of each are those of all persons by then. Fills ``capped``."""
    variant_count, buckets = shape
    now = [_Running(one, len(slot)) for one in values]
    found: list[list[int]] = []
    infinite, flat = 0, np.zeros(buckets, dtype=np.int64)
    for bucket in range(buckets):
        changed = [one.advance(bucket) for one in now]
        present = np.flatnonzero(entered <= bucket)
        if bucket and not any(changed) and not (entered[present] == bucket).any():
            found.append(found[-1])
            flat[bucket] = flat[bucket - 1]
            continue
        sums: list[int] = []
        infinite = 0
        for parts in _terms([one.read(present, slot, capped[place]) for place, one in enumerate(now)]):
            infinite += int((~np.isfinite(parts[0])).sum())
            kept = [np.where(np.isfinite(part), part, 0.0) for part in parts]
            group = np.tile(slot[present], len(kept))
            sums += exact_totals(group, np.concatenate(kept), variant_count)
        found.append(sums)
        flat[bucket] = any(map(_is_flat, capped.tolist()))
    return _Totals([one for of_kind in zip(*found, strict=True) for one in of_kind] if found else [], infinite, flat)


def _is_flat(cap: Sequence[float]) -> bool:
    """Whether a cap takes away all that values differ by: most of them are 0, or the two caps are one value."""
    lower, upper, below, above = cap
    return (upper == 0 and above > 0) or (lower == upper and below + above > 0)


class _Running:
    """One value of all persons at the end of one bucket after the other."""

    def __init__(self, summed: SummedValue, persons: int) -> None:
        self._summed = summed
        self._now = np.zeros(persons)
        self._applied = 0

    def advance(self, bucket: int) -> bool:
        """Apply the changes up to the end of a bucket; return whether there were any."""
        values = self._summed.values
        end = int(np.searchsorted(values.bucket, bucket, side="right"))
        changes = slice(self._applied, end)
        self._now[values.row[changes]] = values.value[changes]  # of several changes of a person, the last one
        self._applied, had = end, self._applied
        return end > had

    def read(self, persons: NDArray[np.intp], slot: Rows, capped: Floats) -> Floats:
        """Return the values of some persons, capped; fills ``capped``."""
        now, outliers = self._now[persons], self._summed.outliers
        if outliers is None:
            return self._summed.apply_threshold(now)
        pool = now[~np.isin(slot[persons], outliers.excluded)] if outliers.excluded else now
        lower, upper = outliers.caps(pool)
        capped[:] = (lower, upper, float((pool < lower).sum()), float((pool > upper).sum()))
        return np.minimum(np.maximum(now, lower), upper)
