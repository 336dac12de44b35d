"""The JSON of a flag's filters: release conditions and variants."""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeAlias

from pydantic import JsonValue

from app.common import limits
from app.common.errors import ValidationFailed
from app.common.ids import read_reference
from app.properties.budget import FilterBudget, check_size
from app.properties.filters import Condition, InvalidFilter, Node, canonical, conditions_of, parse_filter
from app.properties.matcher import compile_filter
from app.properties.operators import TEXT_OPERATORS, complement_of
from app.properties.subjects import named_flag
from app.properties.validation import compile_patterns

JsonDict: TypeAlias = dict[str, JsonValue]

MAX_VARIANTS = 10  # of the flag that is created with an experiment
_LEAST_VARIANTS = 2  # of an experiment
CONTROL = "control"
PLANNED_VARIANTS = "feature_flag_variants"  # in the parameters of an experiment

SHIPPED = "Added when a variant was shipped to everyone."

DEFAULT_VARIANTS: Sequence[JsonDict] = (
    {"key": "control", "name": "Control Group", "rollout_percentage": 50},
    {"key": "test", "name": "Test Variant", "rollout_percentage": 50},
)


def build_filters(
    properties: Sequence[JsonDict],
    variants: Sequence[JsonDict],
    aggregation_group_type_index: int | None,
    rollout: JsonValue = None,
) -> JsonDict:
    """Return the filters of a flag that splits the persons who match ``properties`` between ``variants``.

    ``rollout`` is the percentage of them who get a variant; None for all of them.
    """
    filters: JsonDict = {
        "groups": [{"properties": list(properties), "rollout_percentage": rollout}],
        "multivariate": {"variants": list(variants)},
    }
    if aggregation_group_type_index is not None:
        filters["aggregation_group_type_index"] = aggregation_group_type_index
    return filters


def rewrite_filters(
    old: JsonDict, properties: Sequence[JsonDict] | None, aggregation_group_type_index: int | None
) -> JsonDict:
    """Return the filters with new participants (None keeps the old ones) and a new unit of aggregation.

    Release conditions that all have these participants stay, and so does the rollout of the only one.
    """
    new = dict(old)
    held = groups_of(old)
    if properties is not None and not (
        held and all(mean_the_same(group.get("properties") or [], properties) for group in held)
    ):
        share = held[0].get("rollout_percentage") if len(held) == 1 else None
        rollout: JsonDict = {} if share is None else {"rollout_percentage": share}
        new["groups"] = [{"properties": list(properties), **rollout}]
    new["aggregation_group_type_index"] = aggregation_group_type_index
    return new


def mean_the_same(one: object, other: object) -> bool:
    """Whether two lists of conditions match the same, however they are written; only equal ones if not understood."""
    if one == other:
        return True
    try:
        trees = [parse_filter(conditions, allows_flags=True) for conditions in (one, other)]
    except InvalidFilter:
        return False
    return canonical(trees[0]) == canonical(trees[1])


def with_groups(filters: JsonDict) -> JsonDict:
    """Return the filters with ``groups``, made of ``properties``, the older form, or matching everyone."""
    if "groups" in filters:
        return filters
    properties = filters.get("properties")
    group: JsonDict = {"properties": [] if properties is None else properties, "rollout_percentage": None}
    return {**filters, "groups": [group]}


def ship(filters: JsonDict, variant_key: str) -> JsonDict:
    """Return the filters that give one variant to everyone.

    A release condition that matches everyone is put first; once it is removed, the old ones apply again.
    """
    everyone: JsonDict = {"properties": [], "rollout_percentage": 100, "description": SHIPPED}
    variants: list[JsonValue] = [
        {**variant, "rollout_percentage": 100 if variant.get("key") == variant_key else 0}
        for variant in variants_of(filters)
    ]
    old = filters.get("multivariate")
    multivariate: JsonDict = {**(old if isinstance(old, dict) else {}), "variants": variants}
    return {**filters, "multivariate": multivariate, "groups": [everyone, *groups_of(filters)]}


def groups_of(filters: JsonDict) -> list[JsonDict]:
    groups = filters.get("groups")
    return [group for group in groups if isinstance(group, dict)] if isinstance(groups, list) else []


def reaches_everyone(filters: JsonDict) -> bool:
    """Whether a release condition of the flag lets everyone in."""
    return any(
        not group.get("properties") and (group.get("rollout_percentage") is None or group["rollout_percentage"] == 100)
        for group in groups_of(filters)
    )


def is_simple(filters: JsonDict) -> bool:
    """Whether the flag has a single release condition, a percentage of all persons. Variants do not matter."""
    groups = groups_of(filters)
    is_of_persons = filters.get("aggregation_group_type_index") is None
    return is_of_persons and len(groups) == 1 and not groups[0].get("properties")


def simple_rollout_percentage(filters: JsonDict) -> int | float | None:
    """Return the percentage of a simple flag, where None means everyone; None for other flags."""
    share = groups_of(filters)[0].get("rollout_percentage") if is_simple(filters) else None
    return share if isinstance(share, int | float) else None


def group_type_index_of(filters: JsonDict) -> int | None:
    """Return the type of the groups that a flag assigns to variants; None where it assigns persons."""
    index = filters.get("aggregation_group_type_index")
    return index if isinstance(index, int) and not isinstance(index, bool) else None


def variants_of(filters: JsonDict) -> list[JsonDict]:
    multivariate = filters.get("multivariate")
    variants = multivariate.get("variants") if isinstance(multivariate, dict) else None
    return [variant for variant in variants if isinstance(variant, dict)] if isinstance(variants, list) else []


def plan_variants(parameters: JsonDict | None, variants: Sequence[JsonDict]) -> JsonDict | None:
    """Return the parameters of an experiment with other variants planned, if it planned any and may plan these.

    More variants than may be planned, and those without a control, could neither be sent back nor copied.
    """
    may_be_planned = len(variants) <= MAX_VARIANTS and any(variant.get("key") == CONTROL for variant in variants)
    if not parameters or not parameters.get(PLANNED_VARIANTS) or not may_be_planned:
        return parameters
    return {**parameters, PLANNED_VARIANTS: [*variants]}


def is_multivariate(filters: JsonDict) -> bool:
    """Whether a flag has as many variants as an experiment can compare."""
    return _LEAST_VARIANTS <= len(variants_of(filters)) <= limits.VARIANTS.value


def variant_keys(filters: JsonDict) -> list[str]:
    """Return the keys of the variants: control first, then the others in the flag's order."""
    keys = [str(variant.get("key")) for variant in variants_of(filters)]
    return sorted(keys, key=lambda key: key != CONTROL)


def cohorts_of(filters: JsonDict) -> list[JsonValue]:
    """Return the references to cohorts in the release conditions, in their order."""
    conditions = [condition for group in groups_of(filters) for condition in _conditions(group)]
    return [condition.get("value") for condition in conditions if condition.get("type") == "cohort"]


def flags_of(tree: Node) -> frozenset[int]:
    """Return the ids of the flags whose values conditions test.

    Raises
    ------
    InvalidFilter
        When a condition does not name a flag by its id.
    """
    return frozenset(named_flag(condition) for condition in conditions_of(tree) if condition.type == "flag")


def dependencies_of(filters: JsonDict) -> frozenset[int]:
    """Return the ids of the flags that release conditions name; those that cannot be read are left out."""
    entries = (entry for group in groups_of(filters) for entry in _listed(group.get("properties")))
    found = (read_reference(entry.get("key")) for entry in entries if entry.get("type") == "flag")
    return frozenset(number for number in found if number is not None)


def _listed(properties: JsonValue) -> list[JsonDict]:
    return [entry for entry in properties if isinstance(entry, dict)] if isinstance(properties, list) else []


def check_limits(filters: JsonDict) -> None:
    """Refuse filters that are too large. A release condition counts even if it has no condition on properties.

    Raises
    ------
    ValidationFailed
        With ``attr`` ``filters``.
    """
    try:
        check_size(filters)
        budget = FilterBudget()
        for group in groups_of(filters):
            if group.get("properties"):
                budget.count(group["properties"])
            else:
                budget.add_condition()
    except InvalidFilter as error:
        raise _refusal_of(error) from error


async def compile_conditions(filters: JsonDict) -> None:
    """Compile the regular expressions of filters, in slices of time on the event loop.

    It is done before a transaction begins: those of the largest filters that are accepted take a second.

    Raises
    ------
    ValidationFailed
        As ``check_limits``, and when the expressions are too large together.
    """
    check_limits(filters)
    try:
        await compile_patterns(conditions_in(filters))
    except InvalidFilter as error:
        raise _refusal_of(error) from error


def conditions_in(filters: JsonDict) -> list[Node]:
    """Return the conditions on properties in the release conditions; those that cannot be read are left out."""
    entries = [entry for group in groups_of(filters) if isinstance(entry := group.get("properties"), list)]
    found: list[Node] = []
    for entry in (entry for listed in entries for entry in listed):
        with suppress(InvalidFilter):
            found += parse_filter([entry], allows_flags=True).children
    return found


def validate_filters(filters: JsonDict) -> None:
    """Refuse filters that could not be evaluated or analyzed. Fields that neither reads are not checked.

    Raises
    ------
    ValidationFailed
        With ``attr`` ``filters``, and the message of the 2022 API where that had one.
    """
    keys = _read_variant_keys(filters.get("multivariate"))
    index = filters.get("aggregation_group_type_index")
    if index is not None and (isinstance(index, bool) or not isinstance(index, int)):
        raise _refusal("aggregation_group_type_index must be an integer")
    if not isinstance(filters.get("payloads", {}), dict | None):
        raise _refusal("payloads must be an object")
    groups = _read_objects(filters.get("groups"), "groups")
    for group in groups:
        for condition in _conditions(group):
            _validate_condition(condition, index)
        share = group.get("rollout_percentage")
        if share is not None and not is_percentage(share):
            raise _refusal("rollout_percentage must be a number from 0 to 100")
    for group in groups:
        if group.get("variant") not in (None, "", *keys):
            raise _refusal("variant override does not exist")


def validate_split(filters: JsonDict) -> None:
    """Refuse variants whose percentages do not sum to 100."""
    shares = [variant["rollout_percentage"] for variant in variants_of(filters)]
    if shares and math.fsum(share for share in shares if isinstance(share, int | float)) != 100:
        raise ValidationFailed("Invalid variant definitions: Variant rollout percentages must sum to 100.")


def _refusal(why: str) -> ValidationFailed:
    return ValidationFailed(f"Filters are not valid ({why})", attr="filters")


def _refusal_of(error: InvalidFilter) -> ValidationFailed:
    return ValidationFailed(error.detail, code=error.code, attr="filters")


def _read_objects(value: JsonValue, name: str) -> list[JsonDict]:
    objects = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else None
    if objects is None or not isinstance(value, list) or len(objects) < len(value):
        raise _refusal(f"{name} must be a list of objects")
    return objects


def _read_objects_or_null(value: JsonValue, name: str) -> list[JsonDict]:
    return [] if value is None else _read_objects(value, name)


def _read_variant_keys(multivariate: JsonValue) -> list[JsonValue]:
    if multivariate is None:
        return []
    if not isinstance(multivariate, dict):
        raise _refusal("multivariate must be an object")
    variants = _read_objects_or_null(multivariate.get("variants"), "variants")
    if len(variants) > limits.VARIANTS.value:
        raise _refusal(f"at most {limits.VARIANTS.value} variants")
    for variant in variants:
        key = variant.get("key")
        if not isinstance(key, str) or not key.strip():
            raise _refusal("variants must have a key")
        if not is_percentage(variant.get("rollout_percentage")):
            raise _refusal("variants must have a rollout_percentage from 0 to 100")
    keys = [variant["key"] for variant in variants]
    if len(keys) > len({str(key) for key in keys}):
        raise _refusal("variants must have different keys")
    return keys


def _conditions(group: JsonDict) -> list[JsonDict]:
    return _read_objects_or_null(group.get("properties"), "properties")


def _validate_condition(condition: JsonDict, group_type_index: int | None) -> None:
    kind = condition.get("type", "event")
    if group_type_index is None and kind not in ("person", "cohort", "flag"):
        raise _refusal("can only use person and cohort properties")
    if group_type_index is not None and (kind != "group" or condition.get("group_type_index") != group_type_index):
        raise _refusal("can only use group properties")
    try:
        tree = parse_filter([condition], allows_flags=True)
        if kind == "flag":
            flags_of(tree)
    except InvalidFilter as error:
        raise _refusal(error.detail) from error
    for parsed in conditions_of(tree):
        _refuse_what_sdks_read_otherwise(parsed)
    if kind not in {"cohort", "flag"}:
        try:
            compile_filter(tree)
        except InvalidFilter as error:
            raise _refusal_of(error) from error


def _refuse_what_sdks_read_otherwise(condition: Condition) -> None:
    """Refuse what is clear elsewhere, but would have another meaning where an SDK evaluates the flag."""
    if isinstance(condition.value, tuple):
        if condition.operator in TEXT_OPERATORS:
            raise _refusal(f"the operator {condition.operator!r} takes one text in flags, not a list")
        if not condition.value:
            raise _refusal(f"the operator {condition.operator!r} needs a value in flags, got an empty list")
    if condition.negation and condition.type == "flag":
        raise _refusal("a condition on a flag cannot be negated: name another value")
    if condition.negation and complement_of(condition.operator) is None:
        raise _refusal(f"the operator {condition.operator!r} cannot be negated in flags: use another operator")


def is_percentage(value: JsonValue) -> bool:
    """Whether a value is a number from 0 to 100."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100
