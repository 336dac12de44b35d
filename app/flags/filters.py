"""The JSON of a flag's filters: who is released to, and the variants. Pure."""

from collections.abc import Sequence
from typing import TypeAlias

from pydantic import JsonValue

from app.errors import ValidationFailed

JsonDict: TypeAlias = dict[str, JsonValue]

MAX_VARIANTS = 10
CONTROL = "control"

DEFAULT_VARIANTS: Sequence[JsonDict] = (
    {"key": "control", "name": "Control Group", "rollout_percentage": 50},
    {"key": "test", "name": "Test Variant", "rollout_percentage": 50},
)


def build_filters(
    properties: Sequence[JsonDict], variants: Sequence[JsonDict], aggregation_group_type_index: int | None
) -> JsonDict:
    """Return the filters of a flag that splits those who match ``properties`` between ``variants``."""
    filters: JsonDict = {
        "groups": [{"properties": list(properties), "rollout_percentage": None}],
        "multivariate": {"variants": list(variants)},
    }
    if aggregation_group_type_index is not None:
        filters["aggregation_group_type_index"] = aggregation_group_type_index
    return filters


def rewrite_filters(
    old: JsonDict, properties: Sequence[JsonDict] | None, aggregation_group_type_index: int | None
) -> JsonDict:
    """Return the filters with other participants (None keeps them) and another unit of aggregation."""
    new = dict(old)
    if properties is not None:
        new["groups"] = [{"properties": list(properties)}]
    new["aggregation_group_type_index"] = aggregation_group_type_index
    return new


def variants_of(filters: JsonDict) -> list[JsonDict]:
    multivariate = filters.get("multivariate")
    variants = multivariate.get("variants") if isinstance(multivariate, dict) else None
    return [variant for variant in variants if isinstance(variant, dict)] if isinstance(variants, list) else []


def variant_keys(filters: JsonDict) -> list[str]:
    """Return the keys of the variants, control first, the others in the flag's order."""
    keys = [str(variant.get("key")) for variant in variants_of(filters)]
    return sorted(keys, key=lambda key: key != CONTROL)


def validate_participants(filters: JsonDict) -> None:
    """Refuse release conditions that a flag cannot evaluate.

    Raises
    ------
    ValidationFailed
        With ``attr`` ``filters`` and the message of the 2022 API.
    """
    index = filters.get("aggregation_group_type_index")
    groups = filters.get("groups")
    keys = {variant.get("key") for variant in variants_of(filters)}
    for group in groups if isinstance(groups, list) else []:
        if not isinstance(group, dict):
            raise ValidationFailed("Filters are not valid", attr="filters")
        properties = group.get("properties") or []
        for condition in properties if isinstance(properties, list) else []:
            _validate_condition(condition, index)
        if group.get("variant") is not None and group.get("variant") not in keys:
            raise ValidationFailed("Filters are not valid (variant override does not exist)", attr="filters")


def _validate_condition(condition: JsonValue, group_type_index: JsonValue) -> None:
    if not isinstance(condition, dict):
        raise ValidationFailed("Filters are not valid", attr="filters")
    kind = condition.get("type", "event")
    if group_type_index is None and kind not in ("person", "cohort"):
        raise ValidationFailed("Filters are not valid (can only use person and cohort properties)", attr="filters")
    if group_type_index is not None and (kind != "group" or condition.get("group_type_index") != group_type_index):
        raise ValidationFailed("Filters are not valid (can only use group properties)", attr="filters")
    if kind == "cohort":
        # There are no cohorts to refer to yet.
        detail = f"Cohort with id {condition.get('value')} does not exist"
        raise ValidationFailed(detail, code="cohort_does_not_exist", attr="filters")
