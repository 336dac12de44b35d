"""The conditions of a flag's release conditions, compiled into one test of a person's or a group's properties.

Equality ignores case, as in every SDK that evaluates flags locally; in all else conditions mean what they mean in
metrics.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from pydantic import JsonValue

from app.properties.filters import Condition, Conjunction, InvalidFilter, PropertyType, parse_filter
from app.properties.matcher import Predicate, Properties, PropertyMatcher, compile_filter
from app.properties.subjects import excludes_members, is_cohort, named_cohort

logger = logging.getLogger("abacus")

_LOGGED_CHARACTERS: Final = 200
_PROPERTY_HOLDERS: Final = frozenset({"event", "person", "group"})
# The flag determines whose properties a condition is about. Elements and sessions belong to events, not to persons.
_EVALUABLE_TYPES: Final[frozenset[PropertyType]] = frozenset({"event", "person", "group", "cohort"})
_MEMBER: Final = b"true"
_LOST: Final = b"null"


def read_conditions(entries: JsonValue, flag_key: str) -> Sequence[Condition]:
    """Read the properties of a release condition; empty when one of them cannot be evaluated."""
    try:
        return parse_conditions(entries)
    except InvalidFilter as error:
        _warn(flag_key, error)
        return ()


def parse_conditions(entries: JsonValue) -> Sequence[Condition]:
    """Read the properties of a release condition.

    Raises
    ------
    InvalidFilter
        When one of them cannot be evaluated; such a release condition matches no one.
    """
    if not isinstance(entries, list):
        raise InvalidFilter("properties must be a list")
    conditions = [node for node in parse_filter(entries).children if isinstance(node, Condition)]
    for condition in conditions:
        if condition.type not in _EVALUABLE_TYPES:
            raise InvalidFilter(f"Properties of type {condition.type!r} cannot be used here")
        if is_cohort(condition):
            named_cohort(condition)
    return conditions


def compile_conditions(conditions: Sequence[Condition], flag_key: str) -> Predicate:
    """Return the test that all conditions hold; without conditions, because they were not understood, it never does."""
    if not conditions:
        return _never
    tree = Conjunction(tuple(map(_about_properties, conditions)))
    try:
        return compile_filter(tree, _resolve, ignores_case=True).matches
    except InvalidFilter as error:  # accepted before patterns were limited, or stored by hand
        _warn(flag_key, error)
        return _never


def keys_of(conditions: Sequence[Condition]) -> frozenset[str]:
    """Return the names of the properties that conditions read."""
    return frozenset(condition.key for condition in conditions if condition.type in _PROPERTY_HOLDERS)


def is_about_absence(condition: Condition) -> bool:
    """Whether a condition tests if a property is absent."""
    return condition.operator == ("is_set" if condition.negation else "is_not_set")


def memberships(inside: Collection[int], lost: Collection[int]) -> Mapping[str, bytes]:
    """Return the tokens by which a test learns of cohorts.

    Parameters
    ----------
    inside
        The cohorts that the person is in.
    lost
        The cohorts that are gone or not understood: conditions on them never hold, whether they exclude members or not.
    """
    return {**dict.fromkeys(map(_cohort_key, inside), _MEMBER), **dict.fromkeys(map(_cohort_key, lost), _LOST)}


def _about_properties(condition: Condition) -> Condition:
    """Return a condition on properties typed as ``person``: the flag determines whose properties are tested."""
    if condition.type not in _PROPERTY_HOLDERS:
        return condition
    return replace(condition, type="person", group_type_index=None)


def _resolve(condition: Condition) -> PropertyMatcher:
    test = _is_outside if excludes_members(condition) else _is_inside
    return PropertyMatcher(frozenset(), partial(test, _cohort_key(named_cohort(condition))))


def _is_inside(key: str, properties: Properties) -> bool:
    return properties.get(key) == _MEMBER


def _is_outside(key: str, properties: Properties) -> bool:
    return key not in properties


def _cohort_key(cohort: int) -> str:
    """Return the name of a membership among the tokens; properties cannot have it, because it holds a NUL."""
    return f"\0cohort {cohort}"


def _never(_properties: Properties) -> bool:
    return False


def _warn(flag_key: str, error: InvalidFilter) -> None:
    logger.warning("a release condition of flag %r matches no one: %s", flag_key, error.detail[:_LOGGED_CHARACTERS])
