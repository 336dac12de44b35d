"""The criteria of a dynamic cohort, read from the two forms in which clients write them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from pydantic import JsonValue

from app.properties.budget import FilterBudget, check_size
from app.properties.filters import (
    Condition,
    Conjunction,
    Disjunction,
    Group,
    InvalidFilter,
    Node,
    PropertyType,
    conditions_written,
    parse_filter,
)
from app.properties.matcher import PropertyMatcher, compile_filter
from app.properties.subjects import cohorts_in, is_cohort, named_cohort

_PERSON_TYPES: Final[frozenset[PropertyType]] = frozenset({"person", "event"})
_BEHAVIORAL: Final = "Behavioral criteria cannot be evaluated: only properties of persons, and other cohorts, can"


def read_filters(filters: object) -> "Group | None":
    """Read ``{"properties": {"type": "AND" | "OR", "values": [...]}}``; None when it holds no condition.

    Conditions are on properties of persons (the type ``event`` is read as ``person``), or have the type ``cohort`` and
    the other cohort's id as their value.

    Raises
    ------
    InvalidFilter
        For anything that could not be evaluated.
    """
    if not filters:
        return None
    if not isinstance(filters, Mapping) or "properties" not in filters:
        raise InvalidFilter("Must contain a 'properties' key with type and values")
    return _read(filters["properties"])


def read_groups(groups: Sequence[object]) -> "Group | None":
    """Read the older form, ``[{"properties": [...]}]``: all properties of at least one group.

    Raises
    ------
    InvalidFilter
        As `read_filters` does.
    """
    parts = []
    for group in groups:
        if not isinstance(group, Mapping):
            raise InvalidFilter(f"A group must be an object, got {type(group).__name__}")
        if group.get("action_id") is not None or group.get("event_id") is not None:
            raise InvalidFilter(_BEHAVIORAL)
        part = _read(group.get("properties"))
        if part is not None:
            parts.append(part)
    return Disjunction(tuple(parts)) if parts else None


def check_limits(filters: object, groups: Sequence[object]) -> None:
    """Refuse criteria that are too large, before they are read.

    Raises
    ------
    InvalidFilter
        Its ``code`` names the limit.
    """
    check_size(filters, groups)
    budget = FilterBudget()
    for part in (filters, *groups):
        if isinstance(part, Mapping):
            budget.count(part.get("properties"))


def trees_in(filters: object, groups: Sequence[object]) -> list[Group]:
    """Return the filters in criteria as they were sent; those that cannot be read are left out."""
    trees = []
    for part in (filters, *groups):
        with suppress(InvalidFilter):
            trees.append(parse_filter(part.get("properties") if isinstance(part, Mapping) else None))
    return trees


def read_criteria(filters: object, groups: Sequence[object]) -> "Group | None":
    """Return the criteria of a cohort; None when it has no condition, and therefore no members.

    Where both forms hold conditions, those of ``filters`` apply.
    """
    return read_filters(filters) or read_groups(groups)


def property_groups(filters: object, groups: Sequence[object]) -> JsonValue:
    """Return the criteria of a cohort as one tree of properties, as SDKs read it; None when it has no condition."""
    criteria = read_criteria(filters, groups)
    return None if criteria is None else criteria.to_json()


def referred_cohorts(criteria: "Node | None") -> frozenset[int]:
    """Return the ids of the cohorts that criteria refer to directly."""
    return frozenset() if criteria is None else cohorts_in(criteria)


def _read(properties: object) -> "Group | None":
    if isinstance(properties, str):
        raise InvalidFilter("Properties are unparsable!")
    if any(condition.get("type") == "behavioral" for condition in conditions_written(properties)):
        raise InvalidFilter(_BEHAVIORAL)
    tree = _typed(parse_filter(properties))
    if isinstance(tree, Condition) or not tree.children:
        return None
    compile_filter(tree, resolve=_accept)  # refuses patterns that cannot be run
    return tree


def _typed(node: Node) -> Node:
    """Return the criteria with every condition typed as ``person`` or ``cohort``."""
    if not isinstance(node, Condition):
        children = tuple(map(_typed, node.children))
        return Conjunction(children) if isinstance(node, Conjunction) else Disjunction(children)
    if node.type in _PERSON_TYPES:
        return replace(node, type="person")
    if not is_cohort(node):
        raise InvalidFilter(
            f"Criteria are about properties of persons and about other cohorts, not about {node.type!r}"
        )
    named_cohort(node)
    return replace(node, type="cohort")


def _accept(_condition: Condition) -> PropertyMatcher:
    """Stand in for cohorts, because here the criteria are only validated."""
    return PropertyMatcher(frozenset(), lambda _properties: True)
