"""Checks of the documents of 2022 that experiments are created and changed with."""

from collections.abc import Callable, Mapping

from pydantic import JsonValue
from pydantic_core import PydanticCustomError

from app.experiments.scorecard.metric_settings import unknown_settings
from app.flags.filters import CONTROL, MAX_VARIANTS, PLANNED_VARIANTS, is_percentage
from app.http.fields import refusal
from app.metrics.queries.exposure_attribution import ATTRIBUTION, describe_unknown_attribution, read_attribution
from app.metrics.queries.metric_limits import check_metric_limits, check_secondary_metrics
from app.properties.filters import InvalidFilter

ROLLOUT = "rollout_percentage"
_EXCLUDED = "excluded_variants"


def check_parameters(parameters: JsonValue) -> JsonValue:
    """An empty list means no parameters, as null does; it is how some languages write an empty object."""
    if parameters is None or parameters == []:
        return parameters
    if not isinstance(parameters, dict):
        raise refusal("Expected a dictionary of items.")
    refuse_exclusions(parameters)
    _refuse_large(check_metric_limits, parameters.get("custom_exposure_filter"))
    attribution = parameters.get(ATTRIBUTION)
    if attribution is not None and read_attribution(attribution) is None:
        raise refusal(describe_unknown_attribution(attribution), "invalid_choice")
    _refuse_odd_group_type(parameters, "aggregation_group_type_index must be a whole number")
    if parameters.get(ROLLOUT) is not None and not is_percentage(parameters[ROLLOUT]):
        raise refusal(f"{ROLLOUT} must be a number from 0 to 100")
    variants = parameters.get(PLANNED_VARIANTS)
    if variants is None:
        return parameters
    if not isinstance(variants, list) or not all(_is_variant(variant) for variant in variants):
        raise refusal("Feature flag variants must be a list of objects with key and rollout_percentage")
    if len(variants) > MAX_VARIANTS:
        raise refusal(f"Feature flag variants must be less than {MAX_VARIANTS + 1}")
    keys = [variant["key"] for variant in variants if isinstance(variant, dict)]
    if variants and CONTROL not in keys:
        raise refusal("Feature flag variants must contain a control variant")
    if len(set(keys)) < len(keys):
        raise refusal("Feature flag variants must have different keys")
    return parameters


def refuse_exclusions(document: Mapping[str, object]) -> None:
    """Refuse excluded variants where PostHog writes them: left out, they would be compared."""
    if document.get(_EXCLUDED):
        detail = f"Write `{_EXCLUDED}` into `stats_config`: variants are excluded there."
        raise PydanticCustomError("invalid_input", "{detail}", {"detail": detail, "place": [_EXCLUDED]})


def _is_variant(variant: JsonValue) -> bool:
    key = variant.get("key") if isinstance(variant, dict) else None
    if not isinstance(variant, dict) or not isinstance(key, str) or not key.strip():
        return False
    share = variant.get("rollout_percentage")
    return isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 100


def _refuse_odd_group_type(document: Mapping[str, JsonValue], detail: str) -> None:
    index = document.get("aggregation_group_type_index")
    if index is not None and (isinstance(index, bool) or not isinstance(index, int)):
        raise refusal(detail)


def check_filters(filters: JsonValue) -> JsonValue:
    """Empty filters are refused later; others must be an object with valid participants."""
    if not filters:
        return filters
    if not isinstance(filters, dict):
        raise refusal("Expected a dictionary of items.")
    properties = filters.get("properties")
    if properties is not None and not (isinstance(properties, list) and all(_is_property(item) for item in properties)):
        raise refusal("Filters are not valid")
    _refuse_odd_group_type(filters, "Filters are not valid")
    _refuse_large(check_metric_limits, filters)
    return filters


def check_secondary(metrics: JsonValue) -> JsonValue:
    _refuse_large(check_secondary_metrics, metrics)
    for unknown in unknown_settings(metrics):
        place = [unknown.index, unknown.field]
        raise PydanticCustomError("invalid_choice", "{detail}", {"detail": unknown.detail, "place": place})
    return metrics


def _refuse_large(check: Callable[[object], None], document: object) -> None:
    try:
        check(document)
    except InvalidFilter as error:
        raise refusal(error.detail, error.code) from error


def _is_property(item: JsonValue) -> bool:
    return isinstance(item, dict) and "key" in item and "value" in item
