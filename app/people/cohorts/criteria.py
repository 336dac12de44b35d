"""What a dynamic cohort asks of a person, read from the two forms in which clients write it. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from pydantic import JsonValue

from app.properties.filters import (
    Condition,
    Conjunction,
    Disjunction,
    Group,
    InvalidFilter,
    Node,
    PropertyType,
    parse_filter,
)
from app.properties.matcher import PropertyMatcher, compile_filter
from app.properties.subjects import is_cohort, require_cohort_id

_PERSON_TYPES: Final[frozenset[PropertyType]] = frozenset({"person", "event"})
_BEHAVIORAL: Final = "Behavioral criteria cannot be evaluated: only properties of persons, and other cohorts, can"


def read_filters(filters: object) -> "Group | None":
    """Read ``{"properties": {"type": "AND" | "OR", "values": [...]}}``; None when it asks for nothing.

    Conditions are on properties of persons (also those that are typed as of events), or have the type ``cohort`` and
    the other cohort's id as their value.

    Raises
    ------
    InvalidFilter
        For anything that could not be evaluated. Unlike metrics, a cohort skips no malformed condition: without it, it
        would let in more people.
    """
    if not filters:
        return None
    if not isinstance(filters, Mapping) or "properties" not in filters:
        raise InvalidFilter("Must contain a 'properties' key with type and values")
    return _read(filters["properties"])


def read_groups(groups: Sequence[object]) -> "Group | None":
    """Read the older form, ``[{"properties": [...]}]``: all properties of any of the groups.

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


def read_criteria(filters: object, groups: Sequence[object]) -> "Group | None":
    """Return what a cohort asks of a person; None when it asks for nothing, and so has nobody in it.

    Where both forms say something, ``filters`` count.
    """
    return read_filters(filters) or read_groups(groups)


def property_groups(filters: object, groups: Sequence[object]) -> JsonValue:
    """Return what a cohort asks of a person as one tree of properties, as SDKs read it; None when it asks nothing."""
    criteria = read_criteria(filters, groups)
    return None if criteria is None else criteria.to_json()


def referred_cohorts(criteria: "Node | None") -> frozenset[int]:
    """Return the ids of the cohorts that criteria refer to directly."""
    if criteria is None:
        return frozenset()
    if isinstance(criteria, Condition):
        return frozenset({require_cohort_id(criteria)}) if criteria.type == "cohort" else frozenset()
    return frozenset[int]().union(*map(referred_cohorts, criteria.children))


def _read(properties: object) -> "Group | None":
    if isinstance(properties, str):
        raise InvalidFilter("Properties are unparsable!")
    for entry in _entries(properties):
        _check_entry(entry)
    tree = _of_persons(parse_filter(properties))
    if isinstance(tree, Condition) or not tree.children:
        return None
    compile_filter(tree, resolve=_accept)  # refuses patterns that cannot be run
    return tree


def _entries(document: object) -> Iterator[object]:
    """Yield what stands where a property is expected, as `parse_filter` sees it."""
    if isinstance(document, Mapping) and "type" in document and "values" in document:
        values = document["values"]
        for value in values if isinstance(values, list) else []:
            is_group = isinstance(value, Mapping) and "type" in value and "values" in value
            yield from _entries(value) if is_group else [value]
    elif isinstance(document, list):
        yield from document


def _check_entry(entry: object) -> None:
    if isinstance(entry, Mapping) and entry.get("type") == "behavioral":
        raise InvalidFilter(_BEHAVIORAL)
    if not parse_filter([entry]).children:
        raise InvalidFilter(f"Not a valid property: {json.dumps(entry, ensure_ascii=False)[:100]}")


def _of_persons(node: Node) -> Node:
    """Return the criteria with every condition typed as ``person`` or ``cohort``."""
    if not isinstance(node, Condition):
        children = tuple(map(_of_persons, node.children))
        return Conjunction(children) if isinstance(node, Conjunction) else Disjunction(children)
    if node.type in _PERSON_TYPES:
        return replace(node, type="person")
    if not is_cohort(node):
        raise InvalidFilter(f"A cohort is made of properties of persons, and of other cohorts, not of {node.type!r}")
    require_cohort_id(node)
    return replace(node, type="cohort")


def _accept(_condition: Condition) -> PropertyMatcher:
    """Stand in for cohorts: here it matters only that the criteria can be read."""
    return PropertyMatcher(frozenset(), lambda _properties: True)
