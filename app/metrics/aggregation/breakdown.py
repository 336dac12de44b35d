"""Breakdowns: the counts of a metric for each value of a property, the most frequent values first.

Values are numbers here: keys, of which ``NO_ACTOR`` means that there is no value.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.counts import Counts
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.numbering import numbered
from app.metrics.facts.columns import NO_VARIANT, FactColumns

Keys = NDArray[np.int64]
# Counts the facts of a metric; its counts have ``cumulative``, number[m, k, b].
CountFacts = Callable[[Sequence[FactColumns]], Any]


@dataclass(frozen=True)
class Frequencies:
    """How many subjects have each value: persons, or events. ``keys``, ascending, and ``sizes`` are int64[v]."""

    keys: Keys
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, keys: Keys) -> Self:
        """Count the values of subjects."""
        return cls(*np.unique(keys, return_counts=True))

    def plus(self, other: Self, sign: int = 1) -> Self:
        """Return the sum of two, or the difference; values that no subject has are left out."""
        keys, place = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        sizes = np.zeros(len(keys), dtype=np.int64)
        np.add.at(sizes, place, np.concatenate([self.sizes, sign * other.sizes]))
        return type(self)(keys[sizes != 0], sizes[sizes != 0])

    def to_hold(self, limit: int) -> Keys:
        """Return the values to hold counts of, so that another one can be shown without counting all again."""
        return self.most_frequent(limit + (limit + 1) // 2)

    def most_frequent(self, limit: int) -> Keys:
        """Return the most frequent values in this order, of equally frequent ones those that came first."""
        return self.keys[np.argsort(-self.sizes, kind="stable")[:limit]]


def places_of(keys: Keys, held: Keys) -> NDArray[np.int64]:
    """Return the place of each key among those that are held; their number for all others."""
    if not len(held):
        return np.zeros(len(keys), dtype=np.int64)
    order = np.argsort(held)
    position = order[np.minimum(np.searchsorted(held, keys, sorter=order), len(order) - 1)]
    return np.where(held[position] == keys, position, len(held))


class _Stored(msgspec.Struct, array_like=True):
    limit: int
    held: list[int]
    keys: bytes
    sizes: bytes
    exposed: list[list[list[int]]]
    counts: list[bytes]


@dataclass(frozen=True)
class SegmentCounts(Counts):
    """The counts of a metric for each value that is held, and for all others together, to which more can be added.

    Attributes
    ----------
    limit : int
        How many values are shown.
    held : int64[s]
        The values with counts of their own. Where these are of different subjects, so that they can be added up, some
        more than are shown: the next ones that may become as frequent.
    frequencies : Frequencies
        Those of all values.
    exposed : int64[s + 1, phases, k]
        The exposed persons who were counted, by the phase of the split in which they were exposed.
    counts : sequence of counts, s + 1
        Those of the metric.
    """

    limit: int
    held: Keys
    frequencies: Frequencies
    exposed: NDArray[np.int64]
    counts: Sequence[Any]

    def __add__(self, other: Self) -> Self:
        return self._with(other, 1, operator.add)

    def __sub__(self, other: Self) -> Self:
        return self._with(other, -1, operator.sub)

    def _with(self, other: Self, sign: int, combine: Callable[[Any, Any], Any]) -> Self:
        """Return the combination with counts that hold the same values."""
        return replace(
            self,
            frequencies=self.frequencies.plus(other.frequencies, sign),
            exposed=combine(self.exposed, other.exposed),
            counts=list(map(combine, self.counts, other.counts)),
        )

    @property
    def is_complete(self) -> bool:
        """Whether all values that are to be shown are held."""
        return bool(np.isin(self.frequencies.most_frequent(self.limit), self.held).all())

    def shown(self) -> "BreakdownCounts":
        """Return the counts of the most frequent values, and of all others, of which some may be held."""
        keys = self.frequencies.most_frequent(self.limit)
        places = places_of(keys, self.held)
        exposed, counts = self.exposed[places], [self.counts[place] for place in places.tolist()]
        if len(self.frequencies.keys) > len(keys):
            others = np.delete(np.arange(len(self.counts)), places)
            exposed = np.concatenate([exposed, self.exposed[others].sum(axis=0, keepdims=True)])
            of_others = [self.counts[place] for place in others.tolist()]
            counts.append(of_others[0].total(of_others))
        return BreakdownCounts(keys, exposed, counts)

    def to_bytes(self) -> bytes:
        """Return what ``decode`` reads."""
        counts, known = [one.to_bytes() for one in self.counts], self.frequencies
        return msgspec.msgpack.encode(
            _Stored(
                self.limit,
                self.held.tolist(),
                known.keys.tobytes(),
                known.sizes.tobytes(),
                self.exposed.tolist(),
                counts,
            )
        )

    @classmethod
    def decode(cls, body: bytes, decode_counts: Callable[[bytes], Any]) -> Self | None:
        """Return stored counts; None where those of a value cover more time than the query."""
        stored = msgspec.msgpack.decode(body, type=_Stored)
        counts = [decode_counts(one) for one in stored.counts]
        if any(one is None for one in counts):
            return None
        frequencies = Frequencies(np.frombuffer(stored.keys, np.int64), np.frombuffer(stored.sizes, np.int64))
        held, exposed = np.array(stored.held, dtype=np.int64), np.array(stored.exposed, dtype=np.int64)
        return cls(stored.limit, held, frequencies, exposed, counts)


@dataclass(frozen=True)
class BreakdownCounts:
    """The counts of a metric for each value, and after those for the other values together if there are any.

    Attributes
    ----------
    keys : int64[s]
        The values that are shown.
    exposed : int64[s (+ 1), phases, k]
        See ``SegmentCounts``.
    counts : sequence, s (+ 1)
        Those of the metric.
    """

    keys: Keys
    exposed: NDArray[np.int64]
    counts: Sequence[Any]


def first_exposures(exposures: FactColumns, ledger: Ledger, variant_count: int) -> FactColumns:
    """Return the first exposure of each person of a ledger, in its order: of several at one moment, the first one."""
    known = exposures.select((exposures.variant > NO_VARIANT) & (exposures.variant <= variant_count))
    row, is_listed = ledger.rows_of(known) if len(ledger) else (known.actor, np.zeros(len(known), dtype=np.bool_))
    row, known = row[is_listed], known.select(is_listed)
    order = np.lexsort((known.sequence, known.time, row))
    _, start = np.unique(row[order], return_index=True)
    return known.select(order[start])


@dataclass(frozen=True)
class BrokenDown:
    """What a metric is counted of for each value.

    Attributes
    ----------
    ledger
        The exposed persons of the variants.
    phase : int64[n]
        The phase of the split in which each of them was exposed.
    shape : (phases, variants)
    parts
        What ``count`` counts.
    joined
        Of the parts whose actors are not persons, the places of the parts that they are joined to by event.
    """

    ledger: Ledger
    phase: NDArray[np.int64]
    shape: tuple[int, int]
    parts: Sequence[FactColumns]
    joined: Mapping[int, int]
    count: CountFacts

    def by_persons(self, place: NDArray[np.int64], segments: int) -> tuple[NDArray[np.int64], list[Any]]:
        """Count the persons of each segment, every person in one: ``place`` of the persons of the ledger."""
        exposed = np.zeros((segments, *self.shape), dtype=np.int64)
        np.add.at(exposed, (place, self.phase, self.ledger.slot), 1)
        apart = [
            [] if index in self.joined else _by_segment(part, self.ledger, place, segments)
            for index, part in enumerate(self.parts)
        ]
        return exposed, self._counted(apart)

    def by_events(self, place: NDArray[np.int64], segments: int, broken: int) -> tuple[NDArray[np.int64], list[Any]]:
        """Count the events of each segment, every exposed person in all of them.

        Persons without events are counted once, and not once for each segment: counts are sums over persons.

        Parameters
        ----------
        place
            That of each event of the part ``broken``, which those of the ledger come before.
        """
        events, rows = self.parts[broken], np.argsort(place, kind="stable")
        pieces = [
            events.select(some) for some in np.split(rows, np.cumsum(np.bincount(place, minlength=segments))[:-1])
        ]
        of_ledger = [_OfActors(part) for part in self.parts[:broken]]
        touched = [list(map(part.select, pieces)) for part in of_ledger]
        others: list[list[FactColumns]] = [[] for _ in self.parts[broken + 1 :]]
        added = self._counted([*touched, pieces, *others])
        nothing = [events.select(slice(0, 0))] * segments
        left = self._counted([*touched, nothing, *others])
        without = self.count([*self.parts[:broken], nothing[0], *self._joined_to(nothing[0], broken)])
        exposed = np.zeros(self.shape, dtype=np.int64)
        np.add.at(exposed, (self.phase, self.ledger.slot), 1)
        counts = [without + one - other for one, other in zip(added, left, strict=True)]
        return np.broadcast_to(exposed, (segments, *self.shape)), counts

    def _joined_to(self, events: FactColumns, broken: int) -> list[FactColumns]:
        return [next(part.of_same_events([events])) for part in self.parts[broken + 1 :]]

    def _counted(self, apart: list[list[FactColumns]]) -> list[Any]:
        """Count each segment of parts; the segments of those that are joined are those of their events."""
        for index, base in self.joined.items():
            apart[index] = list(self.parts[index].of_same_events(apart[base]))
        return [self.count(of_segment) for of_segment in zip(*apart, strict=True)]


class _OfActors:
    """Facts in the order of their actors, to select those of some."""

    def __init__(self, facts: FactColumns) -> None:
        self._facts = facts.select(np.argsort(facts.actor, kind="stable"))

    def select(self, others: FactColumns) -> FactColumns:
        """Return the facts of the actors of other facts."""
        (actors, _), own = numbered(others.actor), self._facts.actor
        start, end = np.searchsorted(own, actors, side="left"), np.searchsorted(own, actors, side="right")
        numbers = end - start
        first = np.cumsum(numbers) - numbers
        return self._facts.select(np.repeat(start - first, numbers) + np.arange(numbers.sum()))


def _by_segment(part: FactColumns, ledger: Ledger, places: NDArray[np.int64], segments: int) -> list[FactColumns]:
    """Distribute the facts of the persons of a ledger over segments, without those of others."""
    if not len(ledger):
        return [part.select(slice(0, 0))] * segments
    row, is_listed = ledger.rows_of(part)
    listed = np.flatnonzero(is_listed)
    place = places[row[listed]]
    order = listed[np.argsort(place, kind="stable")]
    ends = np.cumsum(np.bincount(place, minlength=segments))
    return [part.select(rows) for rows in np.split(order, ends[:-1])]
