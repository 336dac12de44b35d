"""Options of a flag that came after 2022, and decide before its release conditions or between them."""

from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.flags.filters import JsonDict, groups_of
from app.flags.holdouts import read_holdout, validate_holdout

_SWITCHES = ("early_exit", "feature_enrollment")


def enrollment_group(filters: JsonDict, flag_key: str) -> JsonDict | None:
    """Return the condition on a person's own choice, which decides alone about persons who have made one.

    It is the first of ``super_groups``, or the one that ``feature_enrollment`` means, its newer form.
    """
    if filters.get("feature_enrollment") is True:
        chosen: JsonDict = {"key": f"$feature_enrollment/{flag_key}", "value": ["true"], "operator": "exact"}
        return {"properties": [{**chosen, "type": "person"}]}
    group = _first(filters.get("super_groups"))
    return group if group and group.get("properties") else None


def decides_before_conditions(filters: JsonDict) -> bool:
    """Whether a holdout or a person's own choice may decide before the release conditions."""
    return read_holdout(filters) is not None or enrollment_group(filters, "") is not None


def exits_early(filters: JsonDict) -> bool:
    """Whether a person whom a condition matches, and its percentage leaves out, gets to no further condition."""
    return filters.get("early_exit") is True


def has_own_unit(filters: JsonDict, group: JsonDict) -> bool:
    """Whether a release condition is about another unit (persons, or a type of groups) than the flag."""
    unit = filters.get("aggregation_group_type_index")
    return group.get("aggregation_group_type_index", unit) != unit


def with_enrollment(filters: JsonDict) -> JsonDict:
    """Return the filters with ``super_groups`` among the release conditions, which they are checked like."""
    group, groups = _first(filters.get("super_groups")), filters.get("groups")
    return {**filters, "groups": [*groups, group]} if group and isinstance(groups, list) else filters


def validate_options(filters: JsonDict) -> None:
    """Refuse options that could not be evaluated as they say.

    Raises
    ------
    ValidationFailed
        With ``attr`` ``filters``.
    """
    validate_holdout(filters)
    _validate_super_groups(filters.get("super_groups"))
    for name in _SWITCHES:
        if not isinstance(filters.get(name), bool | None):
            raise _refusal(f"{name} must be true or false")
    is_of_groups = filters.get("aggregation_group_type_index") is not None
    if is_of_groups and (filters.get("feature_enrollment") or filters.get("super_groups")):
        raise _refusal("a flag of groups cannot have feature_enrollment or super_groups")
    if filters.get("bucketing_identifier") not in (None, "", "distinct_id"):
        raise _refusal("bucketing_identifier can only be distinct_id")
    if any(has_own_unit(filters, group) for group in groups_of(filters)):
        raise _refusal("aggregation_group_type_index of a condition must be that of the flag")


def _validate_super_groups(groups: JsonValue) -> None:
    if groups is None or groups == []:
        return
    group = _first(groups)
    if group is None or not isinstance(groups, list) or len(groups) > 1:
        raise _refusal("super_groups must be a list of one object")
    conditions = group.get("properties")
    if not isinstance(conditions, list) or not conditions:
        raise _refusal("super_groups must have properties")
    if not all(isinstance(condition, dict) and condition.get("type") == "person" for condition in conditions):
        raise _refusal("super_groups can only use person properties")


def _first(groups: JsonValue) -> JsonDict | None:
    group = groups[0] if isinstance(groups, list) and groups else None
    return group if isinstance(group, dict) else None


def _refusal(why: str) -> ValidationFailed:
    return ValidationFailed(f"Filters are not valid ({why})", attr="filters")
