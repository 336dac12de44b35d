"""Breakdowns: the counts of a metric for each value of a property, the most frequent values first.

Values are numbers here: keys, of which ``NO_ACTOR`` means that there is no value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.ledger import Ledger
from app.metrics.facts.columns import NO_VARIANT, FactColumns

Keys = NDArray[np.int64]
# Counts the facts of a metric; its counts have ``cumulative``, number[m, k, b].
CountFacts = Callable[[Sequence[FactColumns]], Any]


@dataclass(frozen=True)
class Values:
    """The values that are shown, and those of each subject.

    Attributes
    ----------
    keys : int64[s]
        The most frequent ones, in this order.
    place : int64[n]
        The place of each subject's value among ``keys``; s for all others.
    has_others : bool
        Whether there are values that are not shown.
    """

    keys: Keys
    place: NDArray[np.int64]
    has_others: bool

    @classmethod
    def of(cls, keys: Keys, limit: int) -> "Values":
        """Choose the most frequent of the values of subjects, of equally frequent ones those that came first."""
        known, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return cls(known[order[:limit]], np.minimum(rank[inverse], limit), len(known) > limit)

    def places_of(self, keys: Keys) -> NDArray[np.int64]:
        """Return the place of each key among ``keys``, as ``place`` does."""
        if not len(self.keys):
            return np.zeros(len(keys), dtype=np.int64)
        order = np.argsort(self.keys)
        position = order[np.minimum(np.searchsorted(self.keys, keys, sorter=order), len(order) - 1)]
        return np.where(self.keys[position] == keys, position, len(self.keys))

    @property
    def segments(self) -> int:
        """The values that are shown, and the others where there are any."""
        return len(self.keys) + self.has_others


class _Stored(msgspec.Struct, array_like=True):
    keys: list[int]
    exposed: list[list[list[int]]]
    counts: list[bytes]


@dataclass(frozen=True)
class BreakdownCounts:
    """The counts of a metric for each value, and after those for the other values together if there are any.

    Attributes
    ----------
    keys : int64[s]
        The values that are shown.
    exposed : int64[s (+ 1), phases, k]
        The exposed persons who were counted, by the phase of the split in which they were exposed.
    counts : sequence of counts, s (+ 1)
        Those of the metric.
    """

    keys: Keys
    exposed: NDArray[np.int64]
    counts: Sequence[Any]

    def to_bytes(self) -> bytes:
        """Return what ``decode`` reads."""
        counts = [one.to_bytes() for one in self.counts]
        return msgspec.msgpack.encode(_Stored(self.keys.tolist(), self.exposed.tolist(), counts))

    @classmethod
    def decode(cls, body: bytes, decode_counts: Callable[[bytes], Any]) -> "BreakdownCounts | None":
        """Return stored counts; None where those of a value cover more time than the query."""
        stored = msgspec.msgpack.decode(body, type=_Stored)
        counts = [decode_counts(one) for one in stored.counts]
        if any(one is None for one in counts):
            return None
        return cls(np.array(stored.keys, dtype=np.int64), np.array(stored.exposed, dtype=np.int64), counts)


def first_exposures(exposures: FactColumns, ledger: Ledger, variant_count: int) -> FactColumns:
    """Return the first exposure of each person of a ledger, in its order: of several at one moment, the first one."""
    known = exposures.select((exposures.variant > NO_VARIANT) & (exposures.variant <= variant_count))
    row, is_listed = ledger.rows_of(known) if len(ledger) else (known.actor, np.zeros(len(known), dtype=np.bool_))
    row, known = row[is_listed], known.select(is_listed)
    order = np.lexsort((known.sequence, known.time, row))
    _, start = np.unique(row[order], return_index=True)
    return known.select(order[start])


def break_down_persons(
    ledger: Ledger,
    values: Values,
    phase: NDArray[np.int64],
    parts: Sequence[FactColumns],
    are_persons: Sequence[bool],
    shape: tuple[int, int],
    count: CountFacts,
) -> BreakdownCounts:
    """Count a metric for the persons of each value: every person is in one segment.

    Parameters
    ----------
    values
        Those of the persons of the ledger.
    phase : int64[n]
        The phase of the split in which each of them was exposed.
    parts
        What ``count`` counts. Parts whose actors are not persons go to every segment: they are joined by event.
    shape : (phases, variants)
    """
    apart = [
        _by_segment(part, ledger, values) if is_person else [part] * values.segments
        for part, is_person in zip(parts, are_persons, strict=True)
    ]
    exposed = np.zeros((values.segments, *shape), dtype=np.int64)
    np.add.at(exposed, (values.place, phase, ledger.slot), 1)
    return BreakdownCounts(values.keys, exposed, [count(of_segment) for of_segment in zip(*apart, strict=True)])


def break_down_events(
    ledger: Ledger,
    values: Values,
    parts: Sequence[FactColumns],
    broken: int,
    phase: NDArray[np.int64],
    shape: tuple[int, int],
    count: CountFacts,
    *,
    is_additive: bool,
) -> BreakdownCounts:
    """Count a metric for the events of each value: every exposed person is in all of them.

    Parameters
    ----------
    values
        Those of the facts of the part at the place ``broken``, which those of exposures come before.
    is_additive
        Whether counts are sums over actors: then persons without events are counted once, and not once for each value.
    """
    exposed = np.zeros(shape, dtype=np.int64)
    np.add.at(exposed, (phase, ledger.slot), 1)
    ledger_parts, events, rest = parts[:broken], parts[broken], parts[broken + 1 :]
    nothing = events.select(slice(0, 0))
    without_events = count([*ledger_parts, nothing, *rest]) if is_additive else None
    counts = []
    for segment in range(values.segments):
        own = events.select(values.place == segment)
        if without_events is None:
            counts.append(count([*ledger_parts, own, *rest]))
            continue
        actors = np.unique(own.actor)
        touched = [part.select(np.isin(part.actor, actors)) for part in ledger_parts]
        added = count([*touched, own, *rest]) - count([*touched, nothing, *rest])
        counts.append(without_events + added)
    return BreakdownCounts(values.keys, np.broadcast_to(exposed, (values.segments, *shape)), counts)


def _by_segment(part: FactColumns, ledger: Ledger, values: Values) -> list[FactColumns]:
    """Distribute the facts of the persons of a ledger over the segments of their values, without those of others."""
    if not len(ledger):
        return [part.select(slice(0, 0))] * values.segments
    row, is_listed = ledger.rows_of(part)
    listed = np.flatnonzero(is_listed)
    place = values.place[row[listed]]
    order = listed[np.argsort(place, kind="stable")]
    ends = np.cumsum(np.bincount(place, minlength=values.segments))
    return [part.select(rows) for rows in np.split(order, ends[:-1])]
