"""The facts of one series as columns."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

# The columns that facts have besides their time and variant.
Column: TypeAlias = Literal["actor", "sequence", "value"]
WITHOUT_VALUES: Set[Column] = frozenset({"actor", "sequence"})

# From one actor to another one, without the latter.
ActorRange: TypeAlias = tuple[int, int]
EVERYONE: ActorRange = (-(2**63), 2**63 - 1)

Number = TypeVar("Number", np.int64, np.float64)

NO_VARIANT = 0
NO_ACTOR = 0  # the actor of events without the actor property, where actors are not persons


@dataclass(frozen=True)
class FactColumns:
    """Facts of one series inside a window, in any order.

    Attributes
    ----------
    actor : int64[n]
        Who did it; merged persons have one number.
    time : int64[n]
        Microseconds since 1970 UTC.
    variant : int32[n]
        0 for events without a variant, 1 to k for the flag's variants, k + 1 for any other text.
    value : float64[n]
        The numeric property of the metric; nan where it is not a number.
    sequence : int64[n]
        The event's position in the order of arrival. One event may be in several series.
    """

    actor: NDArray[np.int64]
    time: NDArray[np.int64]
    variant: NDArray[np.int32]
    value: NDArray[np.float64]
    sequence: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.actor)

    def of_actors(self, actors: NDArray[np.int64]) -> "FactColumns":
        """Return the same facts with other actors."""
        return replace(self, actor=actors)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "FactColumns":
        """Return the rows that a mask, an index or a slice selects."""
        if not isinstance(rows, slice) and rows.dtype == np.bool_:
            rows = np.flatnonzero(rows)  # once for all columns
        time = self.time[rows]
        return FactColumns(
            _selected(self.actor, rows, len(time)),
            time,
            self.variant[rows],
            _selected(self.value, rows, len(time)),
            _selected(self.sequence, rows, len(time)),
        )

    def with_actor(self) -> "FactColumns":
        """Return the facts that have an actor."""
        named = self.actor != NO_ACTOR
        return self if named.all() else self.select(named)

    def in_pieces(self, count: int) -> "Iterator[FactColumns]":
        """Cut the facts into `count` pieces, regardless of their actors."""
        ends = np.linspace(0, len(self), count + 1).astype(int).tolist()
        for start, end in pairwise(ends):
            yield self.select(slice(start, end))

    def by_actor(self, shares: int) -> "Iterator[FactColumns]":
        """Distribute the facts over `shares`, all facts of an actor into the same one."""
        share = (self.actor % shares).astype(np.uint16 if shares <= 2**16 else np.int64)
        order = np.argsort(share, kind="stable")  # a radix sort for numbers of 16 bits
        ends = np.cumsum(np.bincount(share, minlength=shares))
        for rows in np.split(order, ends[:-1]):
            yield self.select(rows)

    def of_same_events(self, pieces: "Sequence[FactColumns]") -> "Iterator[FactColumns]":
        """Distribute the facts like those of other series, of the same events; without those of other events."""
        order = np.argsort(self.sequence, kind="stable")
        ordered = self.sequence[order]
        for piece in pieces:
            place = np.searchsorted(ordered, piece.sequence)
            is_there = place < len(ordered)
            is_there[is_there] = ordered[place[is_there]] == piece.sequence[is_there]
            yield self.select(order[place[is_there]])


def placeholders(value: Number, count: int) -> NDArray[Number]:
    """Return a column that was not read: one value, which takes the memory of one row."""
    return np.broadcast_to(np.asarray(value), count)


def _selected(
    column: NDArray[Number], rows: NDArray[np.bool_] | NDArray[np.intp] | slice, count: int
) -> NDArray[Number]:
    """Return some rows of a column; of one that was not read, as many placeholders."""
    if column.strides == (0,) and len(column):
        return placeholders(column[0], count)
    return column[rows]


_NONE = FactColumns(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float64), np.empty(0, np.int64)
)


def concatenate(parts: Sequence[FactColumns]) -> FactColumns:
    """Return the facts of all parts, in the order of the parts."""
    if len(parts) == 1:
        return parts[0]
    parts = parts or [_NONE]
    return FactColumns(
        np.concatenate([part.actor for part in parts]),
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.variant for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.sequence for part in parts]),
    )


def union(parts: Sequence[FactColumns]) -> FactColumns:
    """Return the facts of all parts, each event once: if several parts have the event, the fact of the first."""
    if len(parts) == 1:
        return parts[0]
    facts = concatenate(parts)
    _, first = np.unique(facts.sequence, return_index=True)
    return facts.select(first)
