"""The exposure ledger: the variant of each exposed person, and the moment from which on the person counts."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.funnel import NEVER
from app.metrics.aggregation.numbering import first_of, numbered
from app.metrics.facts.columns import NO_VARIANT, FactColumns

# Of persons who were shown several variants: leave them out, or count them under the first one.
MultipleVariants: TypeAlias = Literal["exclude", "first_seen"]

_HELD_OUT = -1  # in place of a slot


@dataclass(frozen=True)
class Ledger:
    """One row for each person who was exposed to a variant of the flag, ordered by person.

    Attributes
    ----------
    actor : int64[n]
        The persons, ascending.
    slot : int64[n]
        The variant, from 0; ``variant_count`` for persons who were shown several and are left out.
    time : int64[n]
        From when on the person counts, in microseconds since 1970 UTC: when they were exposed first; with activation,
        when they were activated.
    shown : int64[n]
        When the person was exposed first, also with activation: from then on the variant may change what they do.
    """

    actor: NDArray[np.int64]
    slot: NDArray[np.int64]
    time: NDArray[np.int64]
    shown: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.actor)

    @classmethod
    def of(
        cls,
        exposures: FactColumns,
        variant_count: int,
        handling: MultipleVariants = "exclude",
        activations: FactColumns | None = None,
        held_count: int = 0,
    ) -> "Ledger":
        """Read the ledger off exposure facts.

        Parameters
        ----------
        exposures
            In any order; facts without a variant of the flag are passed over.
        handling : {"exclude", "first_seen"}
            What persons with several variants are: left out, or persons of the variant they were shown first; of
            several at one moment, the one that arrived first.
        activations
            A person counts from their first activation at or after the first exposure; without one, not at all. The
            variants that they were shown at any time still decide whether they have several.
        held_count
            Facts number this many values of holdouts after the variants. Persons who were only held out have no row;
            being held out and shown a variant is as being shown several.
        """
        found = cls._with_held_out(exposures, variant_count, handling, held_count)
        ledger = found.select(found.slot != _HELD_OUT)
        return ledger if activations is None else ledger.activated(activations)

    @classmethod
    def of_held_out(
        cls, exposures: FactColumns, variant_count: int, handling: MultipleVariants, held_count: int
    ) -> "Ledger":
        """Return the persons whom ``of`` leaves out because they were held out, all in slot 0."""
        if not held_count:
            return cls(*(np.empty(0, np.int64) for _ in range(4)))
        found = cls._with_held_out(exposures, variant_count, handling, held_count)
        held = found.select(found.slot == _HELD_OUT)
        return replace(held, slot=np.zeros(len(held), np.int64))

    @classmethod
    def _with_held_out(
        cls, exposures: FactColumns, variant_count: int, handling: MultipleVariants, held_count: int
    ) -> "Ledger":
        known = exposures.select((exposures.variant > NO_VARIANT) & (exposures.variant <= variant_count + held_count))
        actor, number = numbered(known.actor)
        time = first_of(number, known.time, len(actor))
        variant = np.minimum(known.variant, variant_count + 1).astype(np.int64)
        if handling == "first_seen":
            rows = np.flatnonzero(known.time == time[number])
            arrival = first_of(number[rows], known.sequence[rows], len(actor))
            rows = rows[known.sequence[rows] == arrival[number[rows]]]
            number, variant = number[rows], variant[rows]
        lowest = first_of(number, variant, len(actor))
        highest = -first_of(number, -variant, len(actor))
        slot = np.where(lowest > variant_count, _HELD_OUT, lowest - 1)
        return cls(actor, np.where(lowest == highest, slot, variant_count), time, time)

    def activated(self, activations: FactColumns) -> "Ledger":
        """Return the persons who were activated at or after their exposure, from then on."""
        row, facts = self.events_since(activations)
        time = np.full(len(self), NEVER, dtype=np.int64)
        np.minimum.at(time, row, facts.time)
        return replace(self, time=time).select(time != NEVER)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Ledger":
        return Ledger(self.actor[rows], self.slot[rows], self.time[rows], self.shown[rows])

    def of_variants(self, variant_count: int) -> "Ledger":
        """Return the persons who belong to one variant."""
        return self.select(self.slot < variant_count)

    def events_since(self, events: FactColumns) -> tuple[NDArray[np.int64], FactColumns]:
        """Return the events at or after the exposure of their person, each with the person's row, in their order."""
        if not len(self):
            return np.empty(0, np.int64), events.select(np.zeros(len(events), dtype=np.bool_))
        row, is_exposed = self.rows_of(events)
        counts = is_exposed & (events.time >= self.time[row])
        return row[counts], events.select(counts)

    def first_events(self, entries: FactColumns) -> NDArray[np.int64]:
        """Return the sequence number of the event from which on each person counts: of several, the first to arrive.

        ``NEVER`` where it is not among the ``entries``.
        """
        found = np.full(len(self), NEVER, dtype=np.int64)
        row, facts = self.events_since(entries)
        at_once = facts.time == self.time[row]
        np.minimum.at(found, row[at_once], facts.sequence[at_once])
        return found

    def attribute(self, events: FactColumns) -> FactColumns:
        """Return events under the variant that their person was exposed to, without those before the exposure.

        Events of persons who were not exposed have no variant, those of persons with several have another variant than
        the flag's.
        """
        variant = np.zeros(len(events), dtype=np.int32)
        if not len(self):
            return replace(events, variant=variant)
        row, is_exposed = self.rows_of(events)
        variant[is_exposed] = self.slot[row[is_exposed]] + 1
        return replace(events, variant=variant).select(~is_exposed | (events.time >= self.time[row]))

    def rows_of(self, events: FactColumns) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return a row for each event, and whether it is that of the event's person; there must be a row."""
        row = np.minimum(np.searchsorted(self.actor, events.actor), len(self) - 1)
        return row.astype(np.int64), self.actor[row] == events.actor
