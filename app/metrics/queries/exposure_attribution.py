"""Attribution by exposure: events belong to the variant that their person was exposed to, whatever they say themselves.

SDKs of servers do not add ``$feature/<flag key>`` to events unless they are told to: without this, a funnel of such
events is empty.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.metrics.aggregation.trend import TrendCounts
from app.metrics.counting.fact_query import CountsT, FactQuery
from app.metrics.facts.columns import FactColumns
from app.metrics.queries.models import ExposureQuery
from app.metrics.queries.scope import ATTRIBUTED_BY, AttributedBy, ExperimentScope

ATTRIBUTION: Final = "attribution"  # in the parameters of an experiment, and in queries


def read_attribution(value: JsonValue) -> AttributedBy | None:
    """Return the attribution with a name; None where there is none of the name."""
    return next((known for known in ATTRIBUTED_BY if known == value), None)


def attribution_of(parameters: JsonValue) -> JsonValue:
    """Return the attribution that an experiment asks for, whatever it is; None where it does not say."""
    return parameters.get(ATTRIBUTION) if isinstance(parameters, dict) else None


def describe_unknown_attribution(value: object) -> str:
    """Return why a value is not the name of an attribution."""
    shown = ascii(value)[:80]
    return f"{shown} is not an attribution; known are {', '.join(ATTRIBUTED_BY)}."


def attributed(
    fact_query: FactQuery[CountsT], exposures: ExposureQuery | None, scope: ExperimentScope
) -> FactQuery[CountsT]:
    """Return a fact query that attributes events as the experiment does; exposures may be None where events tell it.

    Raises
    ------
    ValidationFailed
        When it counts by exposure, and something else than the units of the experiment: exposures are those of units.
    """
    if scope.attributed_by == "events":
        return fact_query
    if exposures is None:
        raise TypeError("attribution by exposure needs the exposures")
    parts = [part for event_set in fact_query.event_sets for part in event_set.parts]
    if any(part.series.actor_property != scope.actor_property for part in parts):
        raise ValidationFailed(
            f"Only what {exposures.unit} do can be attributed by exposure: count them, or set "
            "`parameters.attribution` to `events`.",
            attr="filters",
        )
    ledger_sets, variant_count = exposures.ledger_sets, len(fact_query.variants)

    def count(columns: Sequence[FactColumns]) -> CountsT:
        ledger = exposures.ledger(columns[: len(ledger_sets)], variant_count)
        return fact_query.count([ledger.attribute(part) for part in columns[len(ledger_sets) :]])

    return replace(
        fact_query,
        event_sets=[*ledger_sets, *fact_query.event_sets],
        variants=[*fact_query.variants, *exposures.holdouts],
        count=count,
        additive_over=None if fact_query.additive_over is None else "actors",
        parameters=(*fact_query.parameters, "attributed by exposure", exposures.handling),
        columns=fact_query.columns | {"actor", "sequence"},
    )


def exposed_fact_query(exposures: ExposureQuery, scope: ExperimentScope) -> FactQuery[TrendCounts]:
    """Return the fact query that counts the exposed units of each variant: those whose events are counted."""
    variant_count = len(scope.variants)

    def count(columns: Sequence[FactColumns]) -> TrendCounts:
        slot = exposures.ledger(columns, variant_count).slot
        units = np.bincount(slot + 1, minlength=variant_count + 2)
        return TrendCounts(units[1:-1, np.newaxis].astype(np.float64), units)

    return FactQuery(
        event_sets=exposures.ledger_sets,
        window=scope.window,
        variants=scope.exposure_variants,
        count=count,
        decode_counts=TrendCounts.from_bytes,
        additive_over="actors",
        parameters=("exposed units", exposures.handling),
        columns=exposures.columns,
    )
