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
    without_actor : int
        Events inside the window that name no group, where groups take the place of persons.
    former : int64[l]
        Persons with an event inside the window that names each of l variants that the flag had before.
    """

    first: NDArray[np.int64]
    events: NDArray[np.int64]
    outside: int
    test_accounts: int
    persons: int
    without_actor: int
    former: NDArray[np.int64]

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
        return int(self.events.sum()) + self.outside + self.test_accounts + self.without_actor


def count_exposures(
    columns: Sequence[FactColumns], ticks: Ticks, window: Window, variant_count: int, former_count: int = 0
) -> ExposureCounts:
    """Count exposures.

    Facts number the variants that the flag had before after those that it has.

    Parameters
    ----------
    columns : sequence of FactColumns
        All exposure facts, inside the window and outside; where test accounts are left out, first the facts without
        test accounts and then all facts.
    ticks
        Buckets that hold the whole window.
    """
    facts, unfiltered = columns[0], columns[-1]
    within = facts.select((facts.time >= window.since) & (facts.time < window.until))
    inside = within.with_actor()
    known = inside.select((inside.variant > NO_VARIANT) & (inside.variant <= variant_count))
    events = np.bincount(inside.variant, minlength=variant_count + 2)
    first = np.zeros((variant_count + 1, len(ticks)), dtype=np.int64)
    row, bucket = _first_exposures(known, ticks, variant_count)
    np.add.at(first, (row, bucket), 1)
    return ExposureCounts(
        first=first,
        events=np.append(events[: variant_count + 1], events[variant_count + 1 :].sum()).astype(np.int64),
        outside=len(facts) - len(within),
        test_accounts=len(unfiltered) - len(facts),
        persons=len(np.unique(inside.actor)),
        without_actor=len(within) - len(inside),
        former=_persons_of(inside, range(variant_count + 1, variant_count + 1 + former_count)),
    )


def _persons_of(facts: FactColumns, variants: Sequence[int]) -> NDArray[np.int64]:
    """Return the number of persons that were shown each of some variants."""
    return np.array([len(np.unique(facts.actor[facts.variant == one])) for one in variants], dtype=np.int64)


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
