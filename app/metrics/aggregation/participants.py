"""Participants: the persons that were exposed, each with the variants that they were shown."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.counts import Counts
from app.metrics.aggregation.ledger import Ledger
from app.metrics.facts.columns import NO_VARIANT, FactColumns


@dataclass(frozen=True)
class Participants(Counts):
    """The p persons that were exposed to a variant, by ascending number.

    Attributes
    ----------
    person : int64[p]
    first : int64[p]
        From when on they count: the time of the first exposure, or of the activation.
    slot : int64[p]
        The variant that they belong to, from 0; the number of variants for persons with several.
    seen : int64[p]
        The variants that were shown, as bits: bit 0 is the first variant.
    """

    person: NDArray[np.int64]
    first: NDArray[np.int64]
    slot: NDArray[np.int64]
    seen: NDArray[np.int64]

    def only(self, slot: int | None) -> "Participants":
        """Return the persons of one variant; all of them for None."""
        if slot is None:
            return self
        rows = self.slot == slot
        return Participants(self.person[rows], self.first[rows], self.slot[rows], self.seen[rows])


def list_participants(ledger: Ledger, exposures: FactColumns, variant_count: int) -> Participants:
    """Return the persons of a ledger, with the variants that their exposures name."""
    seen = np.zeros(len(ledger), dtype=np.int64)
    if len(ledger):
        row, is_listed = ledger.rows_of(exposures)
        is_listed &= (exposures.variant > NO_VARIANT) & (exposures.variant <= variant_count)
        bits = np.left_shift(np.int64(1), exposures.variant[is_listed].astype(np.int64) - 1)
        np.bitwise_or.at(seen, row[is_listed], bits)
    return Participants(ledger.actor, ledger.time, ledger.slot, seen)
