"""The fact queries of insights: trends and funnels without an experiment, as a whole or by the values of a property.

The values take the place of variants.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.common.errors import ValidationFailed
from app.metrics.aggregation.active_users import Days
from app.metrics.aggregation.breakdown import Frequencies, Keys, places_of
from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.funnel import FunnelCounts
from app.metrics.aggregation.trend import TrendCounts
from app.metrics.counting.fact_query import FactQuery
from app.metrics.facts.columns import NO_ACTOR, NO_VARIANT, FactColumns
from app.metrics.facts.event_sets import ALL_SESSIONS, EventSet
from app.metrics.queries.breakdown import BreakdownType, PersonKeys, value_keys, with_value
from app.metrics.queries.funnel import count_facts
from app.metrics.queries.models import FunnelQuery, TrendQuery
from app.metrics.queries.scope import ExperimentScope
from app.metrics.queries.trend import count_by_interval, count_trend

_ALL_KEY = -1  # stands for all events, where they are not broken down


@dataclass(frozen=True)
class ValueBreakdown:
    """The property that an insight is broken down by, of events or of persons as they are today."""

    property: str
    type: BreakdownType
    limit: int


@dataclass(frozen=True)
class TrendByValue:
    """A trend for each value, the most frequent ones first; those of other values are left out.

    ``keys`` are those of the values; ``NO_ACTOR`` is that of events without a value.
    """

    keys: Keys
    counts: TrendCounts


@dataclass(frozen=True)
class FunnelByValue:
    """A funnel for each value, the most frequent ones first, and after them for all others if ``has_others``.

    Actors without a value are those without a variant in ``counts``.
    """

    keys: Keys
    has_others: bool
    counts: FunnelCounts


def trend_insight(
    query: TrendQuery,
    ticks: Ticks,
    scope: ExperimentScope,
    days: Days | None,
    breakdown: ValueBreakdown | None,
    person_keys: PersonKeys | None,
    *,
    is_cumulative: bool,
) -> FactQuery[Any]:
    """Return the fact query that counts a series; its counts are ``TrendByValue``.

    Parameters
    ----------
    is_cumulative
        Whether distinct actors count once over the whole time, instead of once in every interval.
    """
    count_facts_of = count_trend if is_cumulative else count_by_interval
    others = [ALL_SESSIONS] if query.measures_sessions else []

    def count(columns: Sequence[FactColumns], with_values: Sequence[FactColumns]) -> TrendByValue:
        if breakdown is None:
            keys, of_events = np.array([_ALL_KEY]), np.full(len(columns[0]), _ALL_KEY)
        else:
            of_events = value_keys(columns[0], with_values, person_keys)
            keys = Frequencies.of(of_events).most_frequent(breakdown.limit)
        facts = replace(columns[0], variant=(places_of(of_events, keys) + 1).astype(np.int32))
        return TrendByValue(keys, count_facts_of(query, ticks, days, [facts, *columns[1:]], len(keys)))

    described = ("trend", query.math, query.interval, is_cumulative)
    return _insight([query.event_set(scope)], others, scope, breakdown, count, described)


def funnel_insight(
    query: FunnelQuery, scope: ExperimentScope, breakdown: ValueBreakdown | None, person_keys: PersonKeys | None
) -> FactQuery[Any]:
    """Return the fact query that counts a funnel; its counts are ``FunnelByValue``."""
    steps = len(query.steps)

    def count(columns: Sequence[FactColumns], with_values: Sequence[FactColumns]) -> FunnelByValue:
        if breakdown is None:
            facts = [replace(part, variant=np.ones(len(part), dtype=np.int32)) for part in columns]
            return FunnelByValue(np.array([_ALL_KEY]), has_others=False, counts=count_facts(query, facts, 1))
        keys = [value_keys(part, with_values[place : place + 1], person_keys) for place, part in enumerate(columns)]
        of_steps = np.concatenate(keys[:steps])
        found = Frequencies.of(of_steps[of_steps != NO_ACTOR])
        shown = found.most_frequent(breakdown.limit)
        has_others = len(found.keys) > len(shown)
        facts = [replace(part, variant=_variants(of_part, shown)) for part, of_part in zip(columns, keys, strict=True)]
        return FunnelByValue(shown, has_others, count_facts(query, facts, len(shown) + has_others))

    described = ("funnel", query.window, query.order_type, query.attribution, len(query.exclusions))
    return _insight(query.event_sets(scope), [], scope, breakdown, count, described)


def _variants(keys: Keys, shown: Keys) -> NDArray[np.int32]:
    """Return the place of each key among those that are shown, from 1: one more for others, 0 for none."""
    return np.where(keys == NO_ACTOR, NO_VARIANT, places_of(keys, shown) + 1).astype(np.int32)


def _insight(
    events: Sequence[EventSet],
    others: Sequence[EventSet],
    scope: ExperimentScope,
    breakdown: ValueBreakdown | None,
    count: Callable[[Sequence[FactColumns], Sequence[FactColumns]], Any],
    described: tuple[object, ...],
) -> FactQuery[Any]:
    """Return a fact query of some events, of the same with their values if they are broken down by their own.

    Its counts are not stored: nobody may ask for them again.
    """
    if breakdown is not None and breakdown.type == "person":
        parts = [part for one in events for part in one.parts]
        if any(part.series.actor_property is not None for part in parts):
            raise ValidationFailed(
                "Groups and sessions have no properties of a person: break them down by a property of the event.",
                attr="breakdown_type",
            )
    is_keyed = breakdown is not None and breakdown.type == "event"
    with_values = [with_value(one, breakdown.property) for one in events] if breakdown and is_keyed else []
    own = len(events) + len(others)
    return FactQuery(
        event_sets=[*events, *others, *with_values],
        window=scope.window,
        variants=(),
        count=lambda columns: count(columns[:own], columns[own:]),
        decode_counts=None,
        additive_over=None,
        parameters=("insight", repr(described), repr(breakdown)),
        columns=frozenset({"actor", "sequence"}),
    )
