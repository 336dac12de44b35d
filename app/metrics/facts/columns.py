"""The facts of one series as columns."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

# What facts have beside their time and variant.
Column: TypeAlias = Literal["actor", "sequence", "value"]
WITHOUT_VALUES: Set[Column] = frozenset({"actor", "sequence"})

NO_VARIANT = 0
NO_ACTOR = 0  # where others than persons act: whoever has an empty name


@dataclass(frozen=True)
class FactColumns:
    """Facts of one series inside a window, in any order.

    Attributes
    ----------
    actor : int64[n]
        Who did it; merged persons are one already.
    time : int64[n]
        Microseconds since 1970 UTC.
    variant : int32[n]
        0 where the event names no variant, 1 to k for the flag's variants, k + 1 for any other text.
    value : float64[n]
        The property that mathematics works on; nan where it is no number.
    sequence : int64[n]
        The event's place in the order of arrival. One event may be in several series.
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
        """Return the rows that a mask, an index or a slice picks."""
        return FactColumns(self.actor[rows], self.time[rows], self.variant[rows], self.value[rows], self.sequence[rows])

    def in_pieces(self, count: int) -> "Iterator[FactColumns]":
        """Cut the facts into so many pieces, whoever acted."""
        ends = np.linspace(0, len(self), count + 1).astype(int).tolist()
        for start, end in pairwise(ends):
            yield self.select(slice(start, end))

    def by_actor(self, shares: int) -> "Iterator[FactColumns]":
        """Deal the facts out, all of one actor into the same of so many shares."""
        share = (self.actor % shares).astype(np.uint16 if shares <= 2**16 else np.int64)
        order = np.argsort(share, kind="stable")  # which is quick for numbers of 16 bits
        ends = np.cumsum(np.bincount(share, minlength=shares))
        for rows in np.split(order, ends[:-1]):
            yield self.select(rows)


_NONE = FactColumns(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float64), np.empty(0, np.int64)
)


def concatenate(parts: Sequence[FactColumns]) -> FactColumns:
    """Return the facts of all parts, one after the other."""
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
    """Return the facts of all parts, each event once: of several facts of an event the first part's."""
    if len(parts) == 1:
        return parts[0]
    facts = concatenate(parts)
    _, first = np.unique(facts.sequence, return_index=True)
    return facts.select(first)
