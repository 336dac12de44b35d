"""Facts that were made of events, before they are stored."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.db.bulk import Columns
from app.metrics.facts.columns import NO_VARIANT, Column, FactColumns, placeholders
from app.metrics.facts.matching import NO_NUMBER, Match

_Rows: TypeAlias = NDArray[np.bool_] | NDArray[np.intp]


@dataclass(frozen=True)
class MadeFacts:
    """The facts that the events of one series have, after one event up to another one.

    Attributes
    ----------
    after, until : int
        The sequence numbers of these events: of the first one exclusively, of the last one inclusively.
    columns : mapping of str to numpy.ndarray of shape (facts,)
        ``sequence``, ``person_id``, ``time`` and ``variant``; ``value`` where the series keeps values, ``NO_NUMBER``
        where an event has none. ``variant`` is the place of the variant in ``variants``.
    variants : sequence of str
        The first one is empty, and stands for none.
    """

    after: int
    until: int
    columns: Columns
    variants: Sequence[str]

    def __len__(self) -> int:
        return len(self.columns["sequence"])

    def select(self, rows: _Rows) -> "MadeFacts":
        """Return the facts that a mask or an index selects."""
        return replace(self, columns={name: values[rows] for name, values in self.columns.items()})

    def later_than(self, sequence: int) -> "MadeFacts":
        """Return the facts of the events after a sequence number."""
        if sequence <= self.after:
            return self
        return replace(self.select(self.columns["sequence"] > sequence), after=sequence)

    def named(self) -> set[str]:
        """Return the variants that facts have."""
        return {self.variants[place] for place in np.unique(self.columns["variant"]).tolist()}

    def numbered(self, numbers: Sequence[int]) -> NDArray[np.int32]:
        """Return a number in place of the variant of each fact, where ``variants`` have some."""
        found: NDArray[np.int32] = np.asarray(numbers, np.int32)[self.columns["variant"]]
        return found

    def as_facts(self, variants: Sequence[str], columns: Set[Column]) -> FactColumns:
        """Return the facts as they are counted; see ``FactStore.read``."""
        nothing, values = placeholders(np.int64(0), len(self)), placeholders(np.float64(np.nan), len(self))
        places = {text: place for place, text in enumerate(variants, start=1)} | {"": NO_VARIANT}
        if "value" in columns and "value" in self.columns:
            stored = self.columns["value"]
            values = np.where(stored == NO_NUMBER, np.nan, stored)
        return FactColumns(
            actor=self.columns["person_id"].astype(np.int64, copy=False) if "actor" in columns else nothing,
            time=self.columns["time"].astype(np.int64, copy=False),
            variant=self.numbered([places.get(text, len(variants) + 1) for text in self.variants]),
            value=values,
            sequence=self.columns["sequence"].astype(np.int64, copy=False) if "sequence" in columns else nothing,
        )


def together(columns: Columns, places: Sequence[str], matches: Sequence[Match], after: int, until: int) -> MadeFacts:
    """Return facts of which some are columns already, with the places of their variants, and others are matches."""
    variants = list(places)
    place_of = {text: place for place, text in enumerate(variants)}
    for match in matches:
        if match.variant not in place_of:
            place_of[match.variant] = len(variants)
            variants.append(match.variant)
    matched = {
        "sequence": np.array([match.sequence for match in matches], np.int64),
        "person_id": np.array([match.person_id for match in matches], np.int64),
        "time": np.array([match.time for match in matches], np.int64),
        "variant": np.array([place_of[match.variant] for match in matches], np.int32),
        "value": np.array([match.value for match in matches], np.float64),
    }
    every = {name: np.concatenate([values, matched[name]]) if matches else values for name, values in columns.items()}
    return MadeFacts(after, until, every, variants)


def no_facts(after: int, *, are_valued: bool) -> MadeFacts:
    """Return the facts of no events."""
    kinds = {"sequence": np.int64, "person_id": np.int64, "time": np.int64, "variant": np.int32}
    columns: dict[str, NDArray[Any]] = {name: np.empty(0, kind) for name, kind in kinds.items()}
    return MadeFacts(after, after, columns | ({"value": np.empty(0)} if are_valued else {}), [""])
