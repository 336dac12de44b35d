"""The definition of a flag that SDKs read for local evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from app.common.ids import read_reference
from app.flags.evaluation.rules import order_of_trial
from app.flags.filters import JsonDict, groups_of, is_simple, simple_rollout_percentage, with_groups
from app.flags.options import decides_before_conditions
from app.flags.payloads import payloads_of

CohortDefinitions = Mapping[int, JsonValue]


def definition(
    *,
    flag_id: int,
    name: str,
    key: str,
    filters: JsonDict,
    active: bool,
    deleted: bool,
    ensure_experience_continuity: bool,
    cohorts: CohortDefinitions,
) -> JsonDict:
    """Return a flag's definition.

    Its conditions are in the order in which the server tries them: SDKs of 2022 sort them in this order, later ones
    keep the order of the document, so both agree with the server. A cohort in ``cohorts`` that is a plain list of
    properties that must all hold is replaced by these properties.
    """
    groups = groups_of(with_groups(filters))
    return {
        "id": flag_id,
        "name": name,
        "key": key,
        "filters": {
            **filters,
            "groups": [_with_properties(groups[index], cohorts) for index in order_of_trial(groups)],
            "multivariate": filters.get("multivariate"),
            "payloads": dict(payloads_of(filters)),
            "aggregation_group_type_index": filters.get("aggregation_group_type_index"),
        },
        "deleted": deleted,
        "active": active,
        "ensure_experience_continuity": ensure_experience_continuity,
    }


def simple_percentage(filters: JsonDict, *, ensure_experience_continuity: bool) -> int | float | None:
    """Return the percentage by which an SDK of early 2022 may evaluate a flag; None if it has to ask.

    It hashes the distinct id and knows nothing else. posthog-node 1.3 takes 0 percent for everyone.
    """
    if ensure_experience_continuity or not is_simple(filters) or decides_before_conditions(filters):
        return None
    percentage = simple_rollout_percentage(filters)
    return 100 if percentage is None else percentage or None


def cohort_ids(flags: Sequence[JsonDict]) -> frozenset[int]:
    """Return the ids of the cohorts that the filters of flags name, whether the cohorts exist or not."""
    entries = [entry for filters in flags for group in groups_of(filters) for entry in _entries(group)]
    found = (_cohort_of(entry) for entry in entries)
    return frozenset(cohort for cohort in found if cohort is not None)


def _with_properties(group: JsonDict, cohorts: CohortDefinitions) -> JsonDict:
    written: list[JsonValue] = []
    for entry in _entries(group):
        cohort = _cohort_of(entry)
        conditions = _plain_conditions(cohorts.get(cohort)) if cohort is not None else None
        if conditions is None or entry.get("negation") or entry.get("operator", "exact") != "exact":
            written.append(entry)
        else:
            written.extend(conditions)
    return {
        **group,
        "properties": written,
        "rollout_percentage": group.get("rollout_percentage"),
        "variant": group.get("variant"),
    }


def _entries(group: JsonDict) -> list[dict[str, Any]]:
    properties = group.get("properties")
    return [entry for entry in properties if isinstance(entry, dict)] if isinstance(properties, list) else []


def _cohort_of(entry: Mapping[str, JsonValue]) -> int | None:
    return read_reference(entry.get("value")) if entry.get("type") == "cohort" else None


def _plain_conditions(definition: JsonValue) -> list[JsonValue] | None:
    """Return the properties of a cohort if they must all hold; None for other definitions."""
    if not isinstance(definition, dict) or definition.get("type") != "AND":
        return None
    conditions: list[JsonValue] = []
    values = definition.get("values")
    for value in values if isinstance(values, list) else []:
        nested = _plain_conditions(value)
        if nested is not None:
            conditions.extend(nested)
        elif isinstance(value, dict) and value.get("type") == "person":
            conditions.append(value)
        else:
            return None
    return conditions or None
