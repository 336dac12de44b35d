"""Exposures: persons by variant and first exposure, and a balance of all exposure events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks, Window
from app.metrics.aggregation.counts import BucketedCounts
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.numbering import count_distinct
from app.metrics.facts.columns import FactColumns

# Odd numbers without a pattern in their bits: products of neighbors are far apart.
_ODD, _OTHER_ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)

# A table of hashes has at least eight places, two to the power of this, for each row: few are shared by chance.
_SPARE_BITS = 3

ReadLedgers: TypeAlias = Callable[[FactColumns], tuple[Ledger, Ledger, Ledger]]


@dataclass(frozen=True)
class ExposureCounts(BucketedCounts):
    """Exposures to k variants over b buckets of time, and the persons who were held out of them.

    Attributes
    ----------
    first : int64[k + 1, b]
        Persons by the bucket from which on they count, that of their first exposure or of their activation: a row for
        each variant, the last row for persons with several.
    shown : int64[k, b]
        Persons with one variant by the bucket of their first exposure, which the split of that time decided about.
    events : int64[k + 2]
        Events inside the window by variant: first those without a variant, last those with one the flag does not have.
        Those of persons who were held out are in ``holdout_events`` instead.
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
    holdout_events : int
        Events inside the window that say that the person was held out.
    holdout : int
        Persons who were held out, and shown no variant.
    not_activated : int
        Persons who were exposed, to one variant or several, and were not activated: they are not in ``first``.
    """

    bucketed: ClassVar[Sequence[str]] = ("first", "shown")

    first: NDArray[np.int64]
    shown: NDArray[np.int64]
    events: NDArray[np.int64]
    outside: int
    test_accounts: int
    persons: int
    without_actor: int
    former: NDArray[np.int64]
    holdout_events: int
    holdout: int
    not_activated: int

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
        in_window = int(self.events.sum()) + self.holdout_events + self.without_actor
        return in_window + self.outside + self.test_accounts


def count_exposures(
    facts: FactColumns,
    unfiltered: FactColumns,
    ticks: Ticks,
    window: Window,
    read_ledgers: ReadLedgers,
    variant_count: int,
    *,
    held_count: int = 0,
    former_count: int = 0,
) -> ExposureCounts:
    """Count exposures.

    Facts number first the variants that the flag has, then the values of holdouts, then variants that it had before.

    Parameters
    ----------
    facts, unfiltered
        All exposure facts, inside the window and outside: without test accounts where they are left out, and with them.
    ticks
        Buckets that hold the whole window.
    read_ledgers : callable
        Returns the ledger of the exposure facts inside the window, that of the same persons who were activated, and
        that of the persons who were held out.
    """
    within = facts.select((facts.time >= window.since) & (facts.time < window.until))
    inside = within.with_actor()
    exposed, ledger, held_out = read_ledgers(inside)
    known = variant_count + held_count
    events = np.bincount(inside.variant, minlength=known + 2)
    cells = (variant_count + 1) * len(ticks)
    first = np.bincount(ledger.slot * len(ticks) + ticks.bucket(ledger.time), minlength=cells)
    of_one = ledger.of_variants(variant_count)
    shown = np.bincount(of_one.slot * len(ticks) + ticks.bucket(of_one.shown), minlength=variant_count * len(ticks))
    return ExposureCounts(
        first=first.reshape(variant_count + 1, len(ticks)),
        shown=shown.reshape(variant_count, len(ticks)),
        events=np.append(events[: variant_count + 1], events[known + 1 :].sum()).astype(np.int64),
        outside=len(facts) - len(within),
        test_accounts=len(unfiltered) - len(facts),
        persons=count_distinct(inside.actor),
        without_actor=len(within) - len(inside),
        former=_persons_of(inside, range(known + 1, known + 1 + former_count)),
        holdout_events=int(events[variant_count + 1 : known + 1].sum()),
        holdout=len(held_out),
        not_activated=len(exposed) - len(ledger),
    )


def evaluations(facts: FactColumns) -> FactColumns:
    """Leave out all but one fact of a person, moment and variant: two events may report the same evaluation.

    Actors must be persons: several persons of one group may be shown its variant at the same moment.
    """
    rows = _possible_repeats(facts)
    some = facts.select(rows)
    order = np.lexsort((some.variant, some.time, some.actor))
    actor, time, variant = some.actor[order], some.time[order], some.variant[order]
    repeats = (actor[1:] == actor[:-1]) & (time[1:] == time[:-1]) & (variant[1:] == variant[:-1])
    if not repeats.any():
        return facts
    is_first = np.ones(len(facts), dtype=bool)
    is_first[rows[order[1:][repeats]]] = False
    return facts.select(is_first)


def _possible_repeats(facts: FactColumns) -> NDArray[np.intp]:
    """Return the rows that may agree with another one in person, moment and variant: those that share a place.

    Each row puts its number into a place of a table, by a hash. Where another row is found there afterwards, the place
    is shared. That costs a tenth of sorting, and leaves few rows to sort.
    """
    hashes = facts.actor.astype(np.uint64) * _ODD ^ facts.time.astype(np.uint64) * _OTHER_ODD
    hashes = (hashes ^ facts.variant.astype(np.uint64)) * _ODD
    bits = len(facts).bit_length() + _SPARE_BITS
    place = (hashes >> np.uint64(64 - bits)).astype(np.intp)
    rows = np.arange(len(facts), dtype=np.int32)
    last = np.empty(2**bits, dtype=np.int32)
    last[place] = rows
    is_shared = np.zeros(2**bits, dtype=np.bool_)
    is_shared[place[last[place] != rows]] = True
    return np.flatnonzero(is_shared[place])


def _persons_of(facts: FactColumns, variants: Sequence[int]) -> NDArray[np.int64]:
    """Return the number of persons that were shown each of some variants."""
    return np.array([count_distinct(facts.actor[facts.variant == one]) for one in variants], dtype=np.int64)
