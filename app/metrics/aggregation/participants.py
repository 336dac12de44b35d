"""Participants: the persons that were exposed, each with the variants that they were shown."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Window
from app.metrics.aggregation.counts import Counts
from app.metrics.facts.columns import NO_VARIANT, FactColumns


@dataclass(frozen=True)
class Participants(Counts):
    """The p persons that were exposed to a variant, by ascending number.

    Attributes
    ----------
    person : int64[p]
    first : int64[p]
        The time of the first exposure.
    seen : int64[p]
        The variants that were shown, as bits: bit 0 is the first variant.
    """

    person: NDArray[np.int64]
    first: NDArray[np.int64]
    seen: NDArray[np.int64]

    def only(self, number: int | None, several: int) -> "Participants":
        """Return the persons of one variant, or those that were shown several where the number is ``several``."""
        if number is None:
            return self
        is_single = (self.seen & (self.seen - 1)) == 0
        rows = ~is_single if number == several else self.seen == 1 << number
        return Participants(self.person[rows], self.first[rows], self.seen[rows])


def list_participants(columns: Sequence[FactColumns], window: Window, variant_count: int) -> Participants:
    """Return the participants, of facts of exposures inside the window and outside; see ``count_exposures``."""
    facts = columns[0]
    known = facts.select(
        (facts.time >= window.since)
        & (facts.time < window.until)
        & (facts.variant > NO_VARIANT)
        & (facts.variant <= variant_count)
    )
    order = np.argsort(known.actor, kind="stable")
    person, starts = np.unique(known.actor[order], return_index=True)
    if not len(person):
        return Participants(person, person, person)
    bits = np.left_shift(np.int64(1), known.variant[order].astype(np.int64) - 1)
    return Participants(
        person=person,
        first=np.minimum.reduceat(known.time[order], starts),
        seen=np.bitwise_or.reduceat(bits, starts),
    )
