"""Compiles filters into predicates on properties."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from operator import eq, ge, gt, le, lt, ne
from typing import Final, TypeAlias

from app.properties.dates import ParsedDate, RelativeDate, parse_filter_date, parse_moment
from app.properties.elements import CHAIN_PROPERTY, LIST_PROPERTY, chain_of, chain_searches, chain_test
from app.properties.errors import InvalidFilter
from app.properties.filters import Condition, Disjunction, Node, conditions_of
from app.properties.operators import (
    POSITIVE_FORMS,
    Operator,
    PropertyType,
    Scalar,
    Value,
    check_value,
    number_of_value,
    text_of,
)
from app.properties.patterns import Search, regular_expression, shared_work
from app.properties.semver import (
    Version,
    VersionRange,
    caret_range,
    parse_version,
    tilde_range,
    wildcard_range,
)
from app.properties.text import parse_number, plain_text, sorted_json

Properties: TypeAlias = Mapping[str, bytes]
Predicate: TypeAlias = Callable[[Properties], bool]
TokenTest: TypeAlias = Callable[[bytes | None], bool]

_Builder: TypeAlias = Callable[[Condition], TokenTest]

_PROPERTY_HOLDERS: Final[frozenset[PropertyType]] = frozenset({"event", "element", "person", "group", "session"})
_REGEX_OPERATORS: Final[frozenset[Operator]] = frozenset({"regex", "not_regex"})
_TRUTHS: Final = frozenset({"true", "false"})
SEVERAL: Final = 2  # patterns, which share the work that one may do


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


def compile_filter(tree: Node, resolve: Resolver | None = None, *, ignores_case: bool = False) -> PropertyMatcher:
    """Compile a filter whose conditions all read the same set of properties.

    Parameters
    ----------
    tree : Condition, Conjunction or Disjunction
        All conditions read the properties of an event (including elements), of a person, of a group, or of a session.
        Negation turns a condition into its complement.
    resolve : callable, optional
        Returns the matcher of a condition on a cohort or a flag, negation included. It may read further properties.
    ignores_case
        Whether ``exact`` and ``is_not`` find texts equal that differ in case.

    Raises
    ------
    InvalidFilter
        For a value that its operator does not take, a pattern that RE2 refuses, and a type that needs ``resolve`` if
        there is none.
    ValueError
        When conditions on the properties of different entities are mixed.
    """
    holders = {"event" if type_ == "element" else type_ for type_ in tree.types & _PROPERTY_HOLDERS}
    if len(holders) > 1:
        raise ValueError(f"conditions on the properties of several entities, {sorted(holders)}: split them first")
    matcher = _compile(tree, resolve, ignores_case=ignores_case)
    if sum(map(pattern_count, conditions_of(tree))) < SEVERAL:
        return matcher

    def matches(properties: Properties) -> bool:
        with shared_work():
            return matcher.matches(properties)

    return replace(matcher, matches=matches)


def pattern_count(condition: Condition) -> int:
    """Return how many regular expressions a condition may compile."""
    if condition.type != "element" and condition.operator not in _REGEX_OPERATORS:
        return 0
    return len(_values_of(condition))


def searches_of(condition: Condition) -> list[Search]:
    """Return the regular expressions that a condition compiles.

    Raises
    ------
    InvalidFilter
        For a pattern that is refused.
    """
    if condition.type == "element":
        return chain_searches(condition)
    if condition.operator not in _REGEX_OPERATORS:
        return []
    return [regular_expression(text_of(value)) for value in _values_of(condition)]


def _values_of(condition: Condition) -> tuple[Scalar, ...]:
    return condition.value if isinstance(condition.value, tuple) else (condition.value,)


def _compile(node: Node, resolve: Resolver | None, *, ignores_case: bool) -> PropertyMatcher:
    if isinstance(node, Condition):
        return _compile_condition(node, resolve, ignores_case=ignores_case)
    matchers = [_compile(child, resolve, ignores_case=ignores_case) for child in node.children]
    if len(matchers) == 1:
        return matchers[0]
    keys = frozenset[str]().union(*(matcher.keys for matcher in matchers))
    predicates = tuple(matcher.matches for matcher in matchers)
    if isinstance(node, Disjunction) and predicates:
        return PropertyMatcher(keys, lambda properties: any(matches(properties) for matches in predicates))
    return PropertyMatcher(keys, lambda properties: all(matches(properties) for matches in predicates))


def _compile_condition(condition: Condition, resolve: Resolver | None, *, ignores_case: bool) -> PropertyMatcher:
    check_value(condition.operator, condition.value)
    if condition.type == "element":
        passes = chain_test(condition)
        keys = frozenset({CHAIN_PROPERTY, LIST_PROPERTY})
        return PropertyMatcher(keys, lambda properties: passes(chain_of(properties)))
    if condition.type not in _PROPERTY_HOLDERS:
        if resolve is None:
            raise InvalidFilter(f"Properties of type {condition.type!r} cannot be used here")
        return resolve(condition)
    key = condition.key
    holds = _token_test(condition, ignores_case=ignores_case)
    return PropertyMatcher(frozenset({key}), lambda properties: holds(properties.get(key)))


def _token_test(condition: Condition, *, ignores_case: bool) -> TokenTest:
    operator = POSITIVE_FORMS.get(condition.operator, condition.operator)
    if operator == "exact" and ignores_case:
        holds = _exact_in_any_case(condition)
    elif operator in _BUILDERS:
        holds = _BUILDERS[operator](condition)
    else:
        raise InvalidFilter(f"The operator {operator!r} is not available for properties")
    is_complement = (operator != condition.operator) != condition.negation
    return _complement(holds) if is_complement else holds


def _complement(holds: TokenTest) -> TokenTest:
    return lambda raw: not holds(raw)


def _exact(condition: Condition) -> TokenTest:
    return _equality(condition, lambda text: text)


def _exact_in_any_case(condition: Condition) -> TokenTest:
    return _equality(condition, str.lower)


def _equality(condition: Condition, fold: Callable[[str], str]) -> TokenTest:
    """Return the test for one of several values, in the form in which texts are compared.

    A truth value of either side equals its text in any case. A text that is the JSON of an array or an object also
    equals that array or object.
    """
    values = _values_of(condition)
    texts = frozenset(fold(text_of(value)) for value in values)
    truths = frozenset(text_of(value) for value in values if isinstance(value, bool))
    named = _TRUTHS & frozenset(map(str.lower, texts))
    documents = frozenset(fold(text) for value in values if (text := _json_text(value)) is not None)
    if not named and not documents:
        return lambda raw: fold(plain_text(raw)) in texts

    def holds(raw: bytes | None) -> bool:
        text = plain_text(raw)
        if raw in {b"true", b"false"}:
            return text in named
        return fold(text) in texts or text.lower() in truths or (_is_container(raw) and fold(text) in documents)

    return holds


def _json_text(value: Scalar) -> str | None:
    """Return the JSON of an array or an object as properties print it; None for anything else."""
    if not isinstance(value, str) or value.strip()[:1] not in {"[", "{"}:
        return None
    try:
        return sorted_json(value)
    except ValueError:
        return None


def _is_container(raw: bytes | None) -> bool:
    return raw is not None and raw[0] in b"[{"


def _texts(test: Callable[[str, str], bool], condition: Condition) -> TokenTest:
    """Return the test of a text against any of the values, in which case makes no difference."""
    fragments = [text_of(value).lower() for value in _values_of(condition)]
    if len(fragments) == 1:
        [fragment] = fragments
        return lambda raw: test(plain_text(raw).lower(), fragment)

    def holds(raw: bytes | None) -> bool:
        text = plain_text(raw).lower()
        return any(test(text, fragment) for fragment in fragments)

    return holds


def _regex(condition: Condition) -> TokenTest:
    searches = [search.found for search in searches_of(condition)]

    def holds(raw: bytes | None) -> bool:
        text = plain_text(raw)
        return any(found(text) for found in searches)

    return holds


def _ordering(number_test: Callable[[float, float], bool], text_test: Callable[[str, str], bool]) -> _Builder:
    def build(condition: Condition) -> TokenTest:
        value = condition.value
        bound = number_of_value(value)
        if bound is not None:
            return _number_test(lambda number: number_test(number, bound))
        text_bound = "" if isinstance(value, tuple) else text_of(value)
        return lambda raw: raw not in {None, b"null"} and text_test(plain_text(raw), text_bound)

    return build


def _between(condition: Condition) -> TokenTest:
    low, high = _bounds(condition.value)
    return _number_test(lambda number: low <= number <= high)


def _not_between(condition: Condition) -> TokenTest:
    low, high = _bounds(condition.value)
    return _number_test(lambda number: not low <= number <= high)


def _bounds(value: Value) -> tuple[float, float]:
    listed = value if isinstance(value, tuple) else ()
    bounds = [number for bound in listed if (number := number_of_value(bound)) is not None]
    if len(bounds) != 2:
        raise ValueError(f"two bounds are checked before, got {value!r}")
    return bounds[0], bounds[1]


def _number_test(holds: Callable[[float], bool]) -> TokenTest:
    def test(raw: bytes | None) -> bool:
        number = _number(raw)
        return number is not None and holds(number)

    return test


def _number(raw: bytes | None) -> float | None:
    """Return a JSON number, or the text of one, as a finite number."""
    if raw is None:
        return None
    if raw[0] in b"-0123456789":
        return parse_number(raw.decode())
    return parse_number(plain_text(raw)) if raw[0] == 0x22 else None  # a double quote


def _is_set(_condition: Condition) -> TokenTest:
    return lambda raw: raw is not None


def _date_test(holds: Callable[[datetime, datetime], bool]) -> _Builder:
    """Build the test of a property's time, the first argument, against that of the filter."""

    def build(condition: Condition) -> TokenTest:
        date = parse_filter_date(_single_text(condition))

        def test(raw: bytes | None) -> bool:
            found = parse_moment(plain_text(raw))
            bound = date.before(datetime.now(UTC)) if isinstance(date, RelativeDate) else date
            return bool(found and bound and holds(found.at, bound.at))

        return test

    return build


def _is_date_exact(condition: Condition) -> TokenTest:
    date = parse_filter_date(_single_text(condition))
    if isinstance(date, ParsedDate) and not date.is_date:
        return _date_test(lambda at, bound: at.replace(microsecond=0) == bound.replace(microsecond=0))(condition)
    return _date_test(lambda at, bound: at.date() == bound.date())(condition)


def _version_test(holds: Callable[[Version, Version], bool]) -> _Builder:
    def build(condition: Condition) -> TokenTest:
        wanted = parse_version(_single_text(condition))

        def test(raw: bytes | None) -> bool:
            version = _version(raw)
            return version is not None and wanted is not None and holds(version, wanted)

        return test

    return build


def _version_range(read: Callable[[str], VersionRange | None]) -> _Builder:
    def build(condition: Condition) -> TokenTest:
        wanted = read(_single_text(condition))

        def test(raw: bytes | None) -> bool:
            version = _version(raw)
            return version is not None and wanted is not None and wanted.first <= version < wanted.end

        return test

    return build


def _version(raw: bytes | None) -> Version | None:
    return None if raw is None else parse_version(plain_text(raw))


def _single_text(condition: Condition) -> str:
    return "" if isinstance(condition.value, tuple) else text_of(condition.value)


_BUILDERS: Final[Mapping[Operator, _Builder]] = {
    "exact": _exact,
    "icontains": partial(_texts, lambda text, fragment: fragment in text),
    "starts_with": partial(_texts, str.startswith),
    "ends_with": partial(_texts, str.endswith),
    "regex": _regex,
    "gt": _ordering(gt, gt),
    "gte": _ordering(ge, ge),
    "lt": _ordering(lt, lt),
    "lte": _ordering(le, le),
    "min": _ordering(ge, ge),
    "max": _ordering(le, le),
    "between": _between,
    "not_between": _not_between,
    "is_set": _is_set,
    "is_date_exact": _is_date_exact,
    "is_date_before": _date_test(lt),
    "is_date_after": _date_test(gt),
    "semver_eq": _version_test(eq),
    "semver_neq": _version_test(ne),
    "semver_gt": _version_test(gt),
    "semver_gte": _version_test(ge),
    "semver_lt": _version_test(lt),
    "semver_lte": _version_test(le),
    "semver_tilde": _version_range(tilde_range),
    "semver_caret": _version_range(caret_range),
    "semver_wildcard": _version_range(wildcard_range),
}
