"""Contacts with the flags of a holdout, in place of exposures to one flag."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.metrics.aggregation.contacts import (
    OTHER,
    ContactCounts,
    ContactRule,
    contact_ledger,
    count_contacts,
    select_contacts,
)
from app.metrics.aggregation.ledger import Ledger
from app.metrics.counting.fact_query import FactQuery
from app.metrics.facts.columns import FactColumns
from app.metrics.facts.event_sets import EventSet
from app.metrics.queries.models import ExposureQuery
from app.metrics.queries.scope import ExperimentScope


@dataclass(frozen=True)
class HoldoutContacts(ExposureQuery):
    """The exposures of several flags; ``rules`` say which of each event set are contacts."""

    rules: Sequence[ContactRule] = ()

    @property
    def ledger_sets(self) -> list[EventSet]:
        """What to read to know who met the flags."""
        return list(self.event_sets)

    @property
    def ledger_parameters(self) -> str:
        """What the ledger depends on besides facts."""
        return f"contacts {self.rules!r}"

    def ledger(self, columns: Sequence[FactColumns], variant_count: int) -> Ledger:
        """Return the ledger of the facts of ``ledger_sets``, of two variants: held out, and not."""
        if variant_count != OTHER:
            raise ValueError(f"contacts are of two variants, not {variant_count}")
        return contact_ledger(columns, self.rules)

    def entries(self, columns: Sequence[FactColumns]) -> FactColumns:
        """Return the contacts."""
        return select_contacts(columns, self.rules)


def contact_fact_query(contacts: HoldoutContacts, scope: ExperimentScope) -> FactQuery[ContactCounts]:
    """Return the fact query that counts the persons who met the flags."""
    return FactQuery(
        event_sets=contacts.ledger_sets,
        window=scope.window,
        variants=scope.variants,
        count=lambda columns: count_contacts(contact_ledger(columns, contacts.rules)),
        decode_counts=ContactCounts.from_bytes,
        additive_over="actors",
        parameters=(contacts.ledger_parameters,),
        columns=contacts.columns,
    )
