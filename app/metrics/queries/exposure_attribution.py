"""Attribution by exposure: events belong to the variant that their person was exposed to, whatever they say themselves.

SDKs of servers do not add ``$feature/<flag key>`` to events unless they are told to: without this, a funnel of such
events is empty.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from app.common.errors import ValidationFailed
from app.metrics.counting.fact_query import CountsT, FactQuery
from app.metrics.facts.columns import FactColumns
from app.metrics.queries.models import ExposureQuery

AttributedBy: TypeAlias = Literal["events", "exposure"]

ATTRIBUTED_BY: tuple[AttributedBy, ...] = get_args(AttributedBy)


def attributed_by_exposure(fact_query: FactQuery[CountsT], exposures: ExposureQuery) -> FactQuery[CountsT]:
    """Return a fact query that counts what exposed persons did from their exposure on, under the variant of that.

    Raises
    ------
    ValidationFailed
        When the query counts sessions or groups: exposures are those of persons.
    """
    parts = [part for event_set in fact_query.event_sets for part in event_set.parts]
    if any(part.series.actor_property is not None for part in parts):
        raise ValidationFailed("Only what persons do can be attributed by exposure, not sessions or groups.")
    ledger_sets, variant_count = exposures.ledger_sets, len(fact_query.variants)

    def count(columns: Sequence[FactColumns]) -> CountsT:
        ledger = exposures.ledger(columns[: len(ledger_sets)], variant_count).of_variants(variant_count)
        return fact_query.count([ledger.attribute(part) for part in columns[len(ledger_sets) :]])

    return replace(
        fact_query,
        event_sets=[*ledger_sets, *fact_query.event_sets],
        count=count,
        additive_over=None if fact_query.additive_over is None else "actors",
        parameters=(*fact_query.parameters, "attributed by exposure", exposures.handling),
        columns=fact_query.columns | {"actor", "sequence"},
    )
