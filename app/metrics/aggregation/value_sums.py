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
from app.metrics.aggregation.distribution import Distribution, OverTime
from app.metrics.aggregation.exact_sums import as_fraction, exact_totals, is_within_floats, products
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.person_values import Floats, JointValues, PersonValues


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

    def caps(self, values: Floats, persons: NDArray[np.int64]) -> tuple[float, float]:
        """Return the lower and the upper cap; infinite where there is none.

        Parameters
        ----------
        values
            In ascending order, with the number of ``persons`` who have each.
        """
        lower = -np.inf if self.lower is None else _quantile(values, persons, self.lower, -np.inf)
        if self.upper is None:
            return lower, np.inf
        counted = np.where(values == 0, 0, persons) if self.ignores_zeros else persons
        return lower, _quantile(values, counted, self.upper, np.inf)


def _quantile(values: Floats, persons: NDArray[np.int64], level: float, default: float) -> float:
    """Return the value at the position ``floor(level * n)`` from 0 of all persons', the last one at level 1."""
    up_to = np.cumsum(persons)
    if not len(values) or not up_to[-1]:
        return default
    return float(values[np.searchsorted(up_to, min(int(level * up_to[-1]), up_to[-1] - 1), side="right")])


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

    @property
    def has_negative_denominators(self) -> bool:
        """Whether the denominators of a variant add up to less than 0; only of ratios."""
        _persons, _total, _squares, denominators, *_rest = self.cumulative[:, :, -1].tolist()
        return any(one < 0 for one in denominators)

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
    """A value of persons to sum up; with a ``threshold``, it is 1 where it is at least that, else 0."""

    values: PersonValues
    threshold: float | None = None


@np.errstate(over="ignore", invalid="ignore")
def sum_values(
    ledger: Ledger, entry: NDArray[np.int64], values: Sequence[SummedValue], ticks: Ticks, variant_count: int
) -> ValueCounts:
    """Sum up the values of each person by variant.

    They are summed by their changes: each is added in its bucket, and taken out where the next one of its person is.
    That costs what changes, and not the persons in every bucket: the sums are exact.

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
    joint = JointValues.of([one.values for one in values], entered, buckets)
    followed, place = joint.is_followed, ledger.slot[joint.row] * buckets
    group = np.concatenate([place + joint.bucket, place[followed] + np.append(joint.bucket[1:], 0)[followed]])
    applied = [
        (own, rest) if one.threshold is None else ((own >= one.threshold).astype(np.float64),)
        for one, own, rest in zip(values, joint.values, joint.rests, strict=True)
    ]
    totals: list[int] = []
    infinite = 0
    for parts in _terms(applied):
        sums = [0] * (variant_count * buckets)
        infinite += int((~np.isfinite(parts[0])).sum())
        for part in parts:
            changes = np.where(np.isfinite(part), part, 0.0)
            changes = np.concatenate([changes, -changes[followed]])
            sums = [one + more for one, more in zip(sums, exact_totals(group, changes, len(sums)), strict=True)]
        for variant in range(variant_count):
            totals += accumulate(sums[variant * buckets : (variant + 1) * buckets])
    no_caps = np.full((len(values), 4), (np.nan, np.nan, 0.0, 0.0))
    return _counts(persons, totals, infinite, no_caps, np.zeros(buckets, dtype=np.int64))


def _counts(
    persons: NDArray[np.int64], totals: Sequence[int], infinite: int, capped: Floats, flat: NDArray[np.int64]
) -> ValueCounts:
    """Return counts of the persons who enter in each bucket, and of the sums of each kind, variant and bucket."""
    sums = np.array(totals, dtype=np.object_).reshape(_kinds(len(capped)), *persons.shape)
    cumulative = np.concatenate([np.cumsum(persons, axis=1).astype(np.object_)[np.newaxis], sums])
    return ValueCounts(cumulative, infinite, capped, flat)


def _kinds(values: int) -> int:
    """Return how many sums ``_terms`` makes of some values."""
    return 2 * values + values * (values - 1) // 2


def _terms(values: Sequence[Sequence[Floats]]) -> Iterator[Sequence[Floats]]:
    """Yield what is summed up: of each value itself and its square, one after the other, then the products of two.

    All are floats that add up to what is meant, of which the first is the nearest.
    """
    yield from chain.from_iterable((one, _product(one, one)) for one in values)
    yield from (_product(first, second) for first, second in combinations(values, 2))


def _product(first: Sequence[Floats], second: Sequence[Floats]) -> list[Floats]:
    pairs = [(one, other) for one in first for other in second if one.any() and other.any()]
    return [part for pair in pairs or [(first[0], second[0])] for part in products(*pair)]


@np.errstate(over="ignore", invalid="ignore")
def sum_capped(found: Distribution, outliers: Sequence[Outliers | None]) -> ValueCounts:
    """Sum up the values of each person by variant, capped bucket by bucket: the caps are those of all persons by then.

    Parameters
    ----------
    found
        The distribution of persons by their values.
    outliers
        Of each of these values.
    """
    over_time, (_, variant_count, buckets) = found.over_time(), found.entered.shape
    capped = np.full((len(outliers), 4), (np.nan, np.nan, 0.0, 0.0))
    caps = [None if one is None else _Caps(one, over_time, place) for place, one in enumerate(outliers)]
    sums = [[0] * variant_count] * _kinds(len(outliers))
    by_bucket, flat, infinite = [sums] * buckets, np.zeros(buckets, dtype=np.int64), 0
    for bucket, persons in over_time.buckets():
        rows = np.flatnonzero(persons)
        slot, times = over_time.slot[rows], persons[rows]
        values = [
            [own[rows] if one is None else one.apply(own, persons, capped[place])[rows]]
            for place, (one, own) in enumerate(zip(caps, over_time.values, strict=True))
        ]
        sums, infinite = [], 0
        for parts in _terms(values):
            infinite += int(times[~np.isfinite(parts[0])].sum())
            kept = [exact_totals(slot, np.where(np.isfinite(part), part, 0.0), variant_count, times) for part in parts]
            sums.append([sum(of_variant) for of_variant in zip(*kept, strict=True)])
        by_bucket[bucket:] = [sums] * (buckets - bucket)
        flat[bucket:] = any(map(_is_flat, capped.tolist()))
    totals = [
        of_bucket[kind][slot] for kind in range(len(sums)) for slot in range(variant_count) for of_bucket in by_bucket
    ]
    return _counts(found.entered[0], totals, infinite, capped, flat)


def _is_flat(cap: Sequence[float]) -> bool:
    """Whether a cap takes away all that values differ by: most of them are 0, or the two caps are one value."""
    lower, upper, below, above = cap
    return (upper == 0 and above > 0) or (lower == upper and below + above > 0)


class _Caps:
    """The caps of one value at the end of one bucket after the other."""

    def __init__(self, outliers: Outliers, over_time: OverTime, place: int) -> None:
        self._outliers = outliers
        self._order = np.argsort(over_time.values[place], kind="stable")
        self._ordered = over_time.values[place][self._order]
        self._is_left_out = np.isin(over_time.slot, outliers.excluded)[self._order]

    def apply(self, values: Floats, persons: NDArray[np.int64], capped: Floats) -> Floats:
        """Return the values of rows with some persons each, capped; fills ``capped``."""
        pool = np.where(self._is_left_out, 0, persons[self._order])
        lower, upper = self._outliers.caps(self._ordered, pool)
        beyond = (pool[self._ordered < lower].sum(), pool[self._ordered > upper].sum())
        capped[:] = (lower, upper, *beyond)
        return np.minimum(np.maximum(values, lower), upper)
