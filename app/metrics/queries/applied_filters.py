"""Filters of a metric as they were applied, in the form that results show."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pydantic import JsonValue

from app.metrics.aggregation.attribution import ATTRIBUTION_TYPES, AttributionType
from app.metrics.queries.entities import Entity, Filters
from app.metrics.queries.models import FunnelQuery, TrendQuery
from app.metrics.queries.parsing import filters_test_accounts
from app.metrics.queries.scope import ExperimentScope

JsonDict: TypeAlias = dict[str, JsonValue]

# Keys that results show when they are set, with the type of their values.
_OPTIONAL_FILTERS: Mapping[str, type[int] | type[str]] = {
    "aggregation_group_type_index": int,
    "breakdown_attribution_value": int,
    "breakdown_limit": int,
    "funnel_order_type": str,
    "funnel_viz_type": str,
    "funnel_window_days": int,
    "layout": str,
    "limit": int,
    "offset": int,
}


def applied_funnel_filters(query: FunnelQuery, filters: Filters, scope: ExperimentScope) -> JsonDict:
    """Return the filters that took effect, in the form that results of funnels show."""
    display = filters.get("display")
    exclusions: list[JsonValue] = [
        {
            **exclusion.entity.to_json(),
            "funnel_from_step": exclusion.from_step,
            "funnel_to_step": exclusion.to_step,
        }
        for exclusion in query.exclusions
    ]
    return {
        "limit": 100,
        **optional_filters(filters),
        "breakdown": [scope.variant_property],
        **_scope_filters(scope, query.attribution.type),
        "display": display if isinstance(display, str) else "FunnelViz",
        **entity_filters(query.steps),
        **({"exclusions": exclusions} if exclusions else {}),
        "funnel_window_interval": query.window.interval,
        "funnel_window_interval_unit": query.window.unit,
        "insight": "FUNNELS",
        "interval": query.interval,
        "smoothing_intervals": 1,
    }


def applied_trend_filters(query: TrendQuery, filters: Filters, scope: ExperimentScope) -> JsonDict:
    """Return the filters that took effect, in the form that results of trends show."""
    condition: JsonDict = {
        "key": scope.variant_property,
        "operator": "exact",
        "type": "event",
        "value": list(scope.variants),
    }
    attribution = filters.get("breakdown_attribution_type")
    first: AttributionType = "first_touch"
    known = next((known for known in ATTRIBUTION_TYPES if known == attribution), first)
    return {
        **optional_filters(filters),
        "breakdown": scope.variant_property,
        **_scope_filters(scope, known),
        "display": "ActionsLineGraphCumulative",
        **entity_filters([query.entity]),
        "insight": "TRENDS",
        "interval": query.interval,
        "properties": {"type": "AND", "values": [condition]},
        "smoothing_intervals": 1,
    }


def entity_filters(entities: Sequence[Entity]) -> JsonDict:
    """Return the lists of events and of actions, those that are not empty."""
    lists: JsonDict = {}
    for kind in ("actions", "events"):
        shown: list[JsonValue] = [entity.to_json() for entity in entities if entity.kind == kind]
        if shown:
            lists[kind] = shown
    return lists


def optional_filters(filters: Filters) -> JsonDict:
    applied: JsonDict = {"filter_test_accounts": True} if filters_test_accounts(filters) else {}
    for key, kind in _OPTIONAL_FILTERS.items():
        value = filters.get(key)
        if kind is int and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            value = int(value)
        is_set = value == 0 or bool(value) if key == "aggregation_group_type_index" else bool(value)
        if is_set and isinstance(value, kind) and not isinstance(value, bool):
            applied[key] = value
    return applied


def _scope_filters(scope: ExperimentScope, attribution: AttributionType) -> JsonDict:
    applied: JsonDict = {
        "breakdown_attribution_type": attribution,
        "breakdown_normalize_url": False,
        "breakdown_type": "event",
        "date_from": scope.start.astimezone(scope.timezone).replace(microsecond=0).isoformat(),
    }
    if scope.end is not None:
        applied["date_to"] = scope.end.astimezone(scope.timezone).replace(microsecond=0).isoformat()
    applied["explicit_date"] = "true"
    return applied
