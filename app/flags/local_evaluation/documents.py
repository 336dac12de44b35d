"""The definition of a flag that SDKs read for local evaluation."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from app.common.ids import read_reference
from app.flags.evaluation.flag_references import ordered_ids
from app.flags.evaluation.rules import order_of_trial
from app.flags.filters import JsonDict, dependencies_of, groups_of, is_simple, simple_rollout_percentage, with_groups
from app.flags.local_evaluation.cohorts import CohortDefinitions, plain_conditions
from app.flags.local_evaluation.evaluators import (
    condition_for_evaluators,
    could_pass_over,
    entries_of,
    holdout_for_evaluators,
    must_ask,
)
from app.flags.options import decides_before_conditions, exits_early
from app.flags.payloads import payloads_of

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
    is_compared: bool = True,
) -> JsonDict:
    """Return a flag's definition.

    Its conditions are in the order in which the server tries them: SDKs of 2022 sort them in this order, later ones
    keep the order of the document, so both agree with the server. A cohort in ``cohorts`` that is a plain list of
    properties that must all hold is replaced by these properties. A condition on another flag names it by its key, with
    the keys of all flags that have to be evaluated for it, as SDKs read it.

    Evaluators ask the server about flags that ensure experience continuity. So the definition of a flag about which the
    client's evaluator could differ says that it does; ``is_compared`` is whether the evaluator knows all options.
    """
    groups = groups_of(with_groups(filters))
    known = {name: value for name, value in filters.items() if name not in {"holdout", "bucketing_identifier"}}
    holdout = holdout_for_evaluators(filters)
    if holdout is not None:
        known["holdout"] = holdout
    tried = [_group_for_evaluators(groups[index], cohorts, dependencies) for index in order_of_trial(groups)]
    asks = must_ask(with_groups(filters), is_compared=is_compared) or could_pass_over(
        tried, exits_early=exits_early(filters), is_compared=is_compared
    )
    return {
        "id": flag_id,
        "name": name,
        "key": key,
        "filters": {
            **known,
            "groups": [*tried],
            "multivariate": filters.get("multivariate"),
            "payloads": dict(payloads_of(filters)),
            "aggregation_group_type_index": filters.get("aggregation_group_type_index"),
        },
        "deleted": deleted,
        "active": active,
        "ensure_experience_continuity": ensure_experience_continuity or (active and asks),
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
    entries = [entry for filters in flags for group in groups_of(filters) for entry in entries_of(group)]
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


def _with_chain(entry: Mapping[str, JsonValue], dependencies: Dependencies) -> JsonDict:
    number = read_reference(entry.get("key"))
    key, chain = dependencies.get(number, (entry.get("key"), ())) if number is not None else (entry.get("key"), ())
    return {**entry, "key": key, "operator": "flag_evaluates_to", "dependency_chain": list(chain)}


def _group_for_evaluators(group: JsonDict, cohorts: CohortDefinitions, dependencies: Dependencies) -> JsonDict:
    return {
        **group,
        "properties": [written for entry in entries_of(group) for written in _written(entry, cohorts, dependencies)],
        "rollout_percentage": group.get("rollout_percentage"),
        "variant": group.get("variant"),
    }


def _written(entry: JsonDict, cohorts: CohortDefinitions, dependencies: Dependencies) -> Sequence[JsonDict]:
    """Return a condition as evaluators read it: that on a cohort as conditions on its properties where possible."""
    if entry.get("type") == "flag":
        return [_with_chain(entry, dependencies)]
    condition = condition_for_evaluators(entry) or entry
    cohort = _cohort_of(entry)
    if cohort is None or condition.get("operator") == "not_in":
        return [condition]
    return plain_conditions(cohorts.get(cohort)) or [condition]


def _cohort_of(entry: Mapping[str, JsonValue]) -> int | None:
    return read_reference(entry.get("value")) if entry.get("type") == "cohort" else None
