"""Exposures: persons by variant and first exposure, and a balance of all exposure events."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks, Window
from app.metrics.aggregation.counts import BucketedCounts
from app.metrics.facts.columns import NO_VARIANT, FactColumns


@dataclass(frozen=True)
class ExposureCounts(BucketedCounts):
    """Exposures to k variants over b buckets of time.

    Attributes
    ----------
    first : int64[k + 1, b]
        Persons by the bucket of their first exposure: a row for each variant, the last row for persons with several.
    events : int64[k + 2]
        Events inside the window by variant: first those without a variant, last those with one the flag does not have.
    outside : int
        Events before the window or after it.
    test_accounts : int
        Events at any time that a filter on test accounts left out of all of the above.
    persons : int
        Persons with events inside the window, with or without a variant.
    """

    first: NDArray[np.int64]
    events: NDArray[np.int64]
    outside: int
    test_accounts: int
    persons: int

    @property
    def exposed(self) -> NDArray[np.int64]:
        """Persons that were exposed to one variant only, by variant, int64[k]."""
        return np.asarray(self.first[:-1].sum(axis=1))

    @property
    def in_several(self) -> int:
        """Persons that were exposed to several variants."""
        return int(self.first[-1].sum())

    @property
    def event_count(self) -> int:
        """All exposure events."""
        return int(self.events.sum()) + self.outside + self.test_accounts


def count_exposures(columns: Sequence[FactColumns], ticks: Ticks, window: Window, variant_count: int) -> ExposureCounts:
    """Count exposures.

    Parameters
    ----------
    columns : sequence of FactColumns
        All exposure facts, inside the window and outside; where test accounts are left out, first the facts without
        test accounts and then all facts.
    ticks
        Buckets that hold the whole window.
    """
    facts, unfiltered = _once(columns[0]), _once(columns[-1])
    inside = facts.select((facts.time >= window.since) & (facts.time < window.until))
    known = inside.select((inside.variant > NO_VARIANT) & (inside.variant <= variant_count))
    first = np.zeros((variant_count + 1, len(ticks)), dtype=np.int64)
    row, bucket = _first_exposures(known, ticks, variant_count)
    np.add.at(first, (row, bucket), 1)
    return ExposureCounts(
        first=first,
        events=np.bincount(inside.variant, minlength=variant_count + 2).astype(np.int64),
        outside=len(facts) - len(inside),
        test_accounts=len(unfiltered) - len(facts),
        persons=len(np.unique(inside.actor)),
    )


def _once(facts: FactColumns) -> FactColumns:
    """Leave out all but one fact of a person, moment and variant: two events may report the same evaluation."""
    order = np.lexsort((facts.variant, facts.time, facts.actor))
    actor, time, variant = facts.actor[order], facts.time[order], facts.variant[order]
    repeats = (actor[1:] == actor[:-1]) & (time[1:] == time[:-1]) & (variant[1:] == variant[:-1])
    if not repeats.any():
        return facts
    is_first = np.ones(len(order), dtype=bool)
    is_first[order[1:][repeats]] = False
    return facts.select(is_first)


def _first_exposures(
    facts: FactColumns, ticks: Ticks, variant_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each actor a row of ``ExposureCounts.first`` and the bucket of the first exposure."""
    order = np.lexsort((facts.time, facts.actor))
    actor, variant = facts.actor[order], facts.variant[order]
    starts = np.flatnonzero(np.diff(actor, prepend=actor[:1] - 1))
    if not len(starts):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    lowest, highest = np.minimum.reduceat(variant, starts), np.maximum.reduceat(variant, starts)
    row = np.where(lowest == highest, lowest - 1, variant_count)
    return row.astype(np.int64), ticks.bucket(facts.time[order][starts]).astype(np.int64)
