"""The definition of a flag that SDKs read for local evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from app.common.ids import read_reference
from app.flags.evaluation.flag_references import ordered_ids
from app.flags.evaluation.rules import order_of_trial
from app.flags.filters import JsonDict, dependencies_of, groups_of, with_groups
from app.properties.operators import complement_of, is_operator

CohortDefinitions = Mapping[int, JsonValue]
Dependencies = Mapping[int, tuple[str, Sequence[str]]]
NO_DEPENDENCIES: Dependencies = {}


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
    dependencies: Dependencies = NO_DEPENDENCIES,
) -> JsonDict:
    """Return a flag's definition.

    Its conditions are in the order in which the server tries them: SDKs of 2022 sort them in this order, later ones
    keep the order of the document, so both agree with the server. A cohort in ``cohorts`` that is a plain list of
    properties that must all hold is replaced by these properties. A condition on another flag names it by its key, with
    the keys of all flags that have to be evaluated for it, as SDKs read it.
    """
    groups = groups_of(with_groups(filters))
    return {
        "id": flag_id,
        "name": name,
        "key": key,
        "filters": {
            **filters,
            "groups": [_with_properties(groups[index], cohorts, dependencies) for index in order_of_trial(groups)],
            "multivariate": filters.get("multivariate"),
            "payloads": filters.get("payloads") or {},
            "aggregation_group_type_index": filters.get("aggregation_group_type_index"),
        },
        "deleted": deleted,
        "active": active,
        "ensure_experience_continuity": ensure_experience_continuity,
    }


def cohort_ids(flags: Sequence[JsonDict]) -> frozenset[int]:
    """Return the ids of the cohorts that the filters of flags name, whether the cohorts exist or not."""
    entries = [entry for filters in flags for group in groups_of(filters) for entry in _entries(group)]
    found = (_cohort_of(entry) for entry in entries)
    return frozenset(cohort for cohort in found if cohort is not None)


def dependency_chains(flags: Sequence[tuple[int, str, JsonDict]]) -> Dependencies:
    """Return, for each flag by its id, its key and the keys of those it depends on, each after its own dependencies.

    The flag itself comes last. The chain of a flag in a circle is empty, as SDKs expect it.
    """
    keys = {number: key for number, key, _ in flags}
    references = {number: dependencies_of(filters) for number, _, filters in flags}
    chains: dict[int, tuple[str, Sequence[str]]] = {number: (key, ()) for number, key in keys.items()}
    for number in ordered_ids(references):
        if number in keys:
            before = (key for other in sorted(references[number]) for key in chains.get(other, ("", ()))[1])
            chains[number] = (keys[number], [*dict.fromkeys(before), keys[number]])
    return chains


def _with_chain(entry: Mapping[str, Any], dependencies: Dependencies) -> JsonDict:
    number = read_reference(entry.get("key"))
    key, chain = dependencies.get(number, (entry.get("key"), ())) if number is not None else (entry.get("key"), ())
    return {**entry, "key": key, "operator": "flag_evaluates_to", "dependency_chain": list(chain)}


def _with_properties(group: JsonDict, cohorts: CohortDefinitions, dependencies: Dependencies) -> JsonDict:
    written: list[JsonValue] = []
    for entry in _entries(group):
        if entry.get("type") == "flag":
            written.append(_with_chain(entry, dependencies))
            continue
        cohort = _cohort_of(entry)
        conditions = _plain_conditions(cohorts.get(cohort)) if cohort is not None else None
        if conditions is None or _excludes(entry):
            written.append(_without_negation(entry))
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


def _excludes(entry: Mapping[str, JsonValue]) -> bool:
    return bool(entry.get("negation")) or entry.get("operator") not in {None, "exact", "in"}


def _without_negation(entry: Mapping[str, JsonValue]) -> JsonDict:
    """Write a negated condition with the opposite operator: SDKs ignore the negation of a flag's conditions.

    The condition itself where it has no opposite; such a flag is refused today.
    """
    if not entry.get("negation"):
        return dict(entry)
    operator = entry.get("operator") or ("in" if entry.get("type") == "cohort" else "exact")
    if entry.get("type") == "cohort" and operator in {"exact", "is_not"}:
        operator = "in" if operator == "exact" else "not_in"
    opposite = complement_of(operator) if is_operator(operator) else None
    return dict(entry) if opposite is None else {**entry, "operator": opposite, "negation": False}


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
        elif isinstance(value, dict) and value.get("type") == "person" and not value.get("negation"):
            conditions.append(value)
        else:
            return None
    return conditions or None
