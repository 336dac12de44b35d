"""Compiles filters into predicates on properties."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import ge, gt, le, lt
from typing import Final, TypeAlias

import msgspec

from app.properties.dates import ParsedDate, parse_moment
from app.properties.elements import CHAIN_PROPERTY, LIST_PROPERTY, chain_of, chain_searches, chain_test
from app.properties.filters import (
    Condition,
    Disjunction,
    InvalidFilter,
    Node,
    Operator,
    PropertyType,
    Value,
    conditions_of,
)
from app.properties.patterns import Search, contains_like, like_search, regular_expression, shared_work
from app.properties.text import compact, number, number_of_text, print_float, text_form

Properties: TypeAlias = Mapping[str, bytes]
Predicate: TypeAlias = Callable[[Properties], bool]
TokenTest: TypeAlias = Callable[[bytes | None], bool]

_OPPOSITES: Final[Mapping[Operator, Operator]] = {
    "exact": "is_not",
    "is_not": "exact",
    "icontains": "not_icontains",
    "not_icontains": "icontains",
    "regex": "not_regex",
    "not_regex": "regex",
    "gt": "lte",
    "lte": "gt",
    "gte": "lt",
    "lt": "gte",
    "is_set": "is_not_set",
    "is_not_set": "is_set",
    "is_date_before": "is_date_after",
    "is_date_after": "is_date_before",
}
_ORDERINGS: Final[Mapping[Operator, Callable[[float, float], bool]]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}
_PROPERTY_HOLDERS: Final[frozenset[PropertyType]] = frozenset({"event", "element", "person", "group", "session"})
_REGEX_OPERATORS: Final[frozenset[Operator]] = frozenset({"regex", "not_regex"})
_LIKE_OPERATORS: Final[frozenset[Operator]] = frozenset({"icontains", "not_icontains"})
_PATTERN_OPERATORS: Final = _REGEX_OPERATORS | _LIKE_OPERATORS
SEVERAL: Final = 2  # patterns, which share the work that one may do
_LAST_SECOND_OF_DAY: Final = timedelta(hours=23, minutes=59, seconds=59)


@dataclass(frozen=True, slots=True)
class PropertyMatcher:
    """A compiled filter.

    Attributes
    ----------
    keys : frozenset of str
        The properties that it reads; no others have to be decoded.
    matches : callable
        Takes raw JSON tokens by key, where a missing key is an absent property, and returns whether they match. It
        never raises.
    """

    keys: frozenset[str]
    matches: Predicate


Resolver: TypeAlias = Callable[[Condition], PropertyMatcher]


def compile_filter(tree: Node, resolve: Resolver | None = None) -> PropertyMatcher:
    """Compile a filter whose conditions all read the same set of properties.

    Parameters
    ----------
    tree : Condition, Conjunction or Disjunction
        All conditions read the properties of an event (including elements), of a person, of a group, or of a session.
        Negation replaces an operator by its opposite (``gt`` by ``lte``, ``is_date_before`` by ``is_date_after``).
    resolve : callable, optional
        Returns the matcher of a condition on a cohort, which may read further properties.

    Raises
    ------
    InvalidFilter
        For a pattern that RE2 refuses, and for a type that needs ``resolve`` if there is none.
    ValueError
        When conditions on the properties of different entities are mixed.
    """
    holders = {"event" if type_ == "element" else type_ for type_ in tree.types & _PROPERTY_HOLDERS}
    if len(holders) > 1:
        raise ValueError(f"conditions on the properties of several entities, {sorted(holders)}: split them first")
    matcher = _compile(tree, resolve)
    if sum(map(pattern_count, conditions_of(tree))) < SEVERAL:
        return matcher

    def matches(properties: Properties) -> bool:
        with shared_work():
            return matcher.matches(properties)

    return replace(matcher, matches=matches)


def pattern_count(condition: Condition) -> int:
    """Return how many regular expressions a condition may compile."""
    if condition.type == "element":
        return len(condition.value) if isinstance(condition.value, tuple) else 1
    return int(condition.operator in _PATTERN_OPERATORS)


def searches_of(condition: Condition) -> list[Search]:
    """Return the regular expressions that a condition compiles.

    Raises
    ------
    InvalidFilter
        For a pattern that is refused.
    """
    if condition.type == "element":
        return chain_searches(condition)
    if isinstance(condition.value, tuple):
        return []
    if condition.operator in _LIKE_OPERATORS:
        return [like_search(_text_of(condition.value))]
    return [regular_expression(_text_of(condition.value))] if condition.operator in _REGEX_OPERATORS else []


def _compile(node: Node, resolve: Resolver | None) -> PropertyMatcher:
    if isinstance(node, Condition):
        return _compile_condition(node, resolve)
    matchers = [_compile(child, resolve) for child in node.children]
    if len(matchers) == 1:
        return matchers[0]
    keys = frozenset[str]().union(*(matcher.keys for matcher in matchers))
    predicates = tuple(matcher.matches for matcher in matchers)
    if isinstance(node, Disjunction) and predicates:
        return PropertyMatcher(keys, lambda properties: any(matches(properties) for matches in predicates))
    return PropertyMatcher(keys, lambda properties: all(matches(properties) for matches in predicates))


def _compile_condition(condition: Condition, resolve: Resolver | None) -> PropertyMatcher:
    if condition.type == "element":
        passes = chain_test(condition)
        keys = frozenset({CHAIN_PROPERTY, LIST_PROPERTY})
        return PropertyMatcher(keys, lambda properties: passes(chain_of(properties)))
    if condition.type not in _PROPERTY_HOLDERS:
        if resolve is None:
            raise InvalidFilter(f"Properties of type {condition.type!r} cannot be used here")
        return resolve(condition)
    key = condition.key
    holds = _token_test(condition)
    return PropertyMatcher(frozenset({key}), lambda properties: holds(properties.get(key)))


def _token_test(condition: Condition) -> TokenTest:
    operator = condition.operator
    if condition.negation:
        if operator not in _OPPOSITES:
            return _complement(_BUILDERS[operator](condition))
        operator = _OPPOSITES[operator]
        condition = replace(condition, operator=operator, negation=False)
    return _BUILDERS[operator](condition)


def _complement(holds: TokenTest) -> TokenTest:
    return lambda raw: not holds(raw)


def _never(_raw: bytes | None) -> bool:
    return False


def _exact(condition: Condition) -> TokenTest:
    value = condition.value
    if isinstance(value, str) and (document := _json_document(value)) is not None:
        # A text such as "2.5" or "true" means the JSON value; the text property "true" is matched by ["true"].
        wanted = compact(document).replace(" ", "")
        return (lambda raw: compact(raw).replace(" ", "") == wanted) if wanted else _never
    return _one_of(value)


def _one_of(value: Value) -> TokenTest:
    texts = frozenset(map(_text_of, value if isinstance(value, tuple) else (value,)))
    return lambda raw: text_form(raw) in texts


def _is_not(condition: Condition) -> TokenTest:
    return _complement(_one_of(condition.value))


def _icontains(condition: Condition) -> TokenTest:
    if isinstance(condition.value, tuple):
        return _never
    found = contains_like(_text_of(condition.value))
    return lambda raw: found(text_form(raw))


def _regex(condition: Condition) -> TokenTest:
    if isinstance(condition.value, tuple):
        raise InvalidFilter(f"Invalid regular expression {list(condition.value)!r}: a list is not a pattern")
    found = regular_expression(_text_of(condition.value)).found
    return lambda raw: found(text_form(raw))


def _not_icontains(condition: Condition) -> TokenTest:
    return _complement(_icontains(condition))


def _not_regex(condition: Condition) -> TokenTest:
    return _complement(_regex(condition))


def _ordering(condition: Condition) -> TokenTest:
    limit = _number_of(condition.value)
    if limit is None:
        return _never
    compare = _ORDERINGS[condition.operator]
    bound = limit

    def holds(raw: bytes | None) -> bool:
        value = number(raw)
        return value is not None and compare(value, bound)

    return holds


def _is_set(_condition: Condition) -> TokenTest:
    return lambda raw: raw is not None


def _is_not_set(_condition: Condition) -> TokenTest:
    return lambda raw: raw is None


def _is_date_exact(condition: Condition) -> TokenTest:
    wanted = _moment_of(condition.value)
    if wanted is None:
        return _never
    if wanted.is_date:
        day = wanted.at.date()
        return _moment_test(lambda at: at.date() == day)
    return _moment_test(lambda at: at == wanted.at)


def _is_date_before(condition: Condition) -> TokenTest:
    bound = _moment_of(condition.value)
    if bound is None:
        return _never
    return _moment_test(lambda at: at < bound.at)


def _is_date_after(condition: Condition) -> TokenTest:
    bound = _moment_of(condition.value)
    if bound is None:
        return _never
    latest = bound.at + _LAST_SECOND_OF_DAY if bound.is_date else bound.at
    return _moment_test(lambda at: at > latest)


def _moment_test(holds: Callable[[datetime], bool]) -> TokenTest:
    def test(raw: bytes | None) -> bool:
        moment = parse_moment(text_form(raw))
        return moment is not None and holds(moment.at)

    return test


_BUILDERS: Final[Mapping[Operator, Callable[[Condition], TokenTest]]] = {
    "exact": _exact,
    "is_not": _is_not,
    "icontains": _icontains,
    "not_icontains": _not_icontains,
    "regex": _regex,
    "not_regex": _not_regex,
    "gt": _ordering,
    "gte": _ordering,
    "lt": _ordering,
    "lte": _ordering,
    "is_set": _is_set,
    "is_not_set": _is_not_set,
    "is_date_exact": _is_date_exact,
    "is_date_before": _is_date_before,
    "is_date_after": _is_date_after,
}


def _text_of(value: Value) -> str:
    """Return the value of a filter as text; as in PostHog, ``true`` becomes ``True``, which no property equals."""
    if isinstance(value, float):
        return print_float(value)
    return str(value)


def _json_document(text: str) -> bytes | None:
    """Return the UTF-8 of a text that is JSON but not an integer; else None."""
    try:
        int(text)
    except ValueError:
        pass
    else:
        return None
    try:
        return bytes(msgspec.json.decode(text.strip(), type=msgspec.Raw))
    except (ValueError, RecursionError):
        return None


def _number_of(value: Value) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return number_of_text(str(value))


def _moment_of(value: Value) -> ParsedDate | None:
    if isinstance(value, tuple):
        return None
    return parse_moment(_text_of(value))
