"""Contacts with the flags of a holdout: persons who are held out, and the others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.counts import Counts
from app.metrics.aggregation.ledger import Ledger
from app.metrics.facts.columns import NO_VARIANT, FactColumns, concatenate

# Times in microseconds: from the first on, before the second.
Span: TypeAlias = tuple[int, int]

HELD_OUT, OTHER = 1, 2  # the variants of facts, and from 0 on the slots of a ledger


@dataclass(frozen=True)
class ContactCounts(Counts):
    """Persons who met a flag of a holdout.

    Attributes
    ----------
    persons : int64[3]
        Those who were held out, the others, and those who were both at different times.
    """

    persons: NDArray[np.int64]


@dataclass(frozen=True)
class ContactRule:
    """Which exposure facts of a flag are contacts.

    ``spans`` are the times that count. With ``needs_value`` facts without the flag's value are none: not every event
    that may name the flag's value says that the flag was evaluated.
    """

    spans: Sequence[Span]
    needs_value: bool = False

    def select(self, facts: FactColumns) -> FactColumns:
        """Return the contacts."""
        counts = np.zeros(len(facts), dtype=np.bool_)
        for since, until in self.spans:
            counts |= (facts.time >= since) & (facts.time < until)
        if self.needs_value:
            counts &= facts.variant != NO_VARIANT
        return facts.select(counts)


def contact_ledger(parts: Sequence[FactColumns], rules: Sequence[ContactRule]) -> Ledger:
    """Return who met the flags first when: in slot 0 those who were held out, in 1 the others, in 2 who was both.

    Parameters
    ----------
    parts
        The exposure facts of each flag. Variant 1 says that the person was held out; whatever else it is says that
        they were not, also where the flag let no variant be shown.
    rules
        Of each flag.
    """
    facts = select_contacts(parts, rules)
    variant = np.where(facts.variant == HELD_OUT, HELD_OUT, OTHER).astype(np.int32)
    return Ledger.of(replace(facts, variant=variant), OTHER)


def select_contacts(parts: Sequence[FactColumns], rules: Sequence[ContactRule]) -> FactColumns:
    """Return the exposure facts of all flags that are contacts."""
    return concatenate([rule.select(part.with_actor()) for part, rule in zip(parts, rules, strict=True)])


def count_contacts(ledger: Ledger) -> ContactCounts:
    """Count the persons of a contact ledger."""
    return ContactCounts(np.bincount(ledger.slot, minlength=OTHER + 1).astype(np.int64))
