"""What the evaluators inside SDKs know: where one would differ from the server, it has to ask."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from app.flags.evaluation.conditions import parse_conditions
from app.flags.filters import JsonDict, groups_of
from app.flags.holdouts import read_holdout
from app.flags.options import enrollment_group, exits_early, has_own_unit
from app.properties.filters import InvalidFilter
from app.properties.operators import COHORT_TYPES, complement_of, is_operator

_USER_AGENT: Final = re.compile(r"(posthog-[a-z]+)/(\d{1,6})\.(\d{1,6})")
# The versions with which the server is compared in tests/clients. Older ones pass over holdouts, early exits and
# whether a condition excludes the members of a cohort.
_COMPARED: Final[Mapping[str, tuple[int, int]]] = {"posthog-python": (7, 91), "posthog-node": (5, 70)}
# A cohort that is static or not understood is not in the definitions, and a flag may depend on one.
_MAY_LACK: Final = frozenset({*COHORT_TYPES, "flag"})
_COMPARES_LISTS: Final = frozenset({"exact", "is_not"})
# Operators that evaluators know by another name.
_OTHER_NAMES: Final[Mapping[str, str]] = {"min": "gte", "max": "lte"}
# fmt: off
_KNOWN_TO_ALL: Final[frozenset[str]] = frozenset(
    {
        "exact", "is_not", "is_set", "icontains", "not_icontains", "regex", "not_regex", "gt", "gte", "lt",
        "lte", "is_date_before", "is_date_after",
    }
)
_KNOWN_TO_COMPARED: Final[frozenset[str]] = _KNOWN_TO_ALL | frozenset(
    {
        "is_not_set", "starts_with", "not_starts_with", "ends_with", "not_ends_with", "semver_eq",
        "semver_neq", "semver_gt", "semver_gte", "semver_lt", "semver_lte", "semver_tilde", "semver_caret",
        "semver_wildcard",
    }
)
# fmt: on


def is_compared(user_agent: str | None) -> bool:
    """Whether a client's evaluator is one that knows all that the server knows; in doubt it is not."""
    found = _USER_AGENT.match(user_agent or "")
    return found is not None and (int(found[2]), int(found[3])) >= _COMPARED.get(found[1], (10**6, 0))


def must_ask(filters: JsonDict, *, is_compared: bool) -> bool:
    """Whether an evaluator could differ from the server about a flag."""
    groups = groups_of(filters)
    entries = [entry for group in groups for entry in entries_of(group)]
    if enrollment_group(filters, "") or any(has_own_unit(filters, group) for group in groups):
        return True
    if not all(map(_is_understood, groups)):  # the condition matches nobody, whatever an evaluator would make of it
        return True
    holdout = read_holdout(filters)
    if holdout is not None and (holdout.id is None or not is_compared):
        return True
    if exits_early(filters) and not is_compared:
        return True
    return any(condition_for_evaluators(entry) is None or (_is_younger(entry) and not is_compared) for entry in entries)


def could_pass_over(groups: Sequence[JsonDict], *, exits_early: bool, is_compared: bool) -> bool:
    """Whether an evaluator could pass over a release condition, and a later one give what the server does not.

    An evaluator that cannot decide a condition asks the server only if no later condition matches. It may lack a
    property too, which is known only when it evaluates. The ``groups`` are in the order of trial.
    """
    if not exits_early and len({str(group.get("variant") or "") for group in groups}) <= 1:
        return False
    known = _KNOWN_TO_COMPARED if is_compared else _KNOWN_TO_ALL
    return any(
        entry.get("type") in _MAY_LACK or str(entry.get("operator") or "exact") not in known
        for group in groups[:-1]
        for entry in entries_of(group)
    )


def condition_for_evaluators(entry: JsonDict) -> JsonDict | None:
    """Return a condition as evaluators read it; None where they have no word for it."""
    is_negated = bool(entry.get("negation"))
    plain: JsonDict = {name: value for name, value in entry.items() if name != "negation"}
    operator = str(entry.get("operator") or "exact")
    if entry.get("type") == "cohort":
        is_excluding = (operator in {"is_not", "not_in"}) != is_negated
        return {**plain, "operator": "not_in"} if is_excluding else _with_operator(plain, entry, "in")
    if isinstance(entry.get("value"), list) and (operator not in _COMPARES_LISTS or not entry["value"]):
        return None
    if not is_negated:  # evaluators do not read `negation` outside of cohorts
        return {**plain, "operator": _OTHER_NAMES[operator]} if operator in _OTHER_NAMES else plain
    complement = complement_of(operator) if is_operator(operator) else None
    return None if complement is None else {**plain, "operator": complement}


def holdout_for_evaluators(filters: JsonDict) -> JsonDict | None:
    """Return a holdout as evaluators read it."""
    holdout = read_holdout(filters)
    if holdout is None or holdout.id is None:
        return None
    return {"id": holdout.id, "exclusion_percentage": holdout.percentage}


def entries_of(group: JsonDict) -> list[JsonDict]:
    """Return the conditions of a release condition that are objects."""
    properties = group.get("properties")
    return [entry for entry in properties if isinstance(entry, dict)] if isinstance(properties, list) else []


def _with_operator(plain: JsonDict, entry: JsonDict, operator: str) -> JsonDict:
    """Return the condition with an operator, where it was not written without one and without negation."""
    return {**plain, "operator": operator} if entry.get("negation") else plain


def _is_younger(entry: JsonDict) -> bool:
    """Whether a condition is one that older evaluators read in another way."""
    if entry.get("type") == "flag":
        return True
    found = condition_for_evaluators(entry) or {}
    return entry.get("type") == "cohort" and found.get("operator") == "not_in"


def _is_understood(group: JsonDict) -> bool:
    try:
        parse_conditions(group.get("properties") or [])
    except InvalidFilter:
        return False
    return True
