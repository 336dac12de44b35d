"""The operators of conditions, and the values that each one takes."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias, TypeGuard, get_args

from app.properties.dates import DATE_FORMS, parse_filter_date
from app.properties.errors import InvalidFilter
from app.properties.semver import caret_range, parse_version, tilde_range, wildcard_range
from app.properties.text import is_decimal, parse_number, print_float

Operator: TypeAlias = Literal[
    "exact",
    "is_not",
    "icontains",
    "not_icontains",
    "starts_with",
    "not_starts_with",
    "ends_with",
    "not_ends_with",
    "regex",
    "not_regex",
    "gt",
    "gte",
    "lt",
    "lte",
    "min",
    "max",
    "between",
    "not_between",
    "is_set",
    "is_not_set",
    "is_date_exact",
    "is_date_before",
    "is_date_after",
    "semver_eq",
    "semver_neq",
    "semver_gt",
    "semver_gte",
    "semver_lt",
    "semver_lte",
    "semver_tilde",
    "semver_caret",
    "semver_wildcard",
    "in",
    "not_in",
    "flag_evaluates_to",
]
PropertyType: TypeAlias = Literal[
    "event", "person", "group", "cohort", "static-cohort", "precalculated-cohort", "element", "session", "flag"
]
Scalar: TypeAlias = bool | int | float | str | None
Value: TypeAlias = Scalar | tuple[Scalar, ...]

OPERATORS: Final[tuple[Operator, ...]] = get_args(Operator)
TYPES: Final[tuple[PropertyType, ...]] = get_args(PropertyType)
COHORT_TYPES: Final[frozenset[PropertyType]] = frozenset({"cohort", "static-cohort", "precalculated-cohort"})
NEEDS_NO_VALUE: Final[frozenset[Operator]] = frozenset({"is_set", "is_not_set"})
# Each of these is true of a property exactly where the operator it is mapped to is not.
POSITIVE_FORMS: Final[Mapping[Operator, Operator]] = {
    "is_not": "exact",
    "not_icontains": "icontains",
    "not_starts_with": "starts_with",
    "not_ends_with": "ends_with",
    "not_regex": "regex",
    "is_not_set": "is_set",
    "not_in": "in",
}
_NEGATIVE_FORMS: Final[Mapping[Operator, Operator]] = {
    positive: negative for negative, positive in POSITIVE_FORMS.items()
}
TEXT_OPERATORS: Final[frozenset[Operator]] = frozenset(
    {"icontains", "not_icontains", "starts_with", "not_starts_with", "ends_with", "not_ends_with", "regex", "not_regex"}
)
_COHORT_OPERATORS: Final[tuple[Operator, ...]] = ("exact", "in", "is_not", "not_in")
_FLAG_OPERATORS: Final[tuple[Operator, ...]] = ("flag_evaluates_to",)
_PROPERTY_OPERATORS: Final[tuple[Operator, ...]] = tuple(
    operator for operator in OPERATORS if operator not in {"in", "not_in", "flag_evaluates_to"}
)
_SHOWN_CHARACTERS: Final = 100
_TWO: Final = 2


def is_operator(name: object) -> TypeGuard[Operator]:
    return isinstance(name, str) and name in OPERATORS


def is_type(name: object) -> TypeGuard[PropertyType]:
    return isinstance(name, str) and name in TYPES


def operators_of(property_type: PropertyType) -> tuple[Operator, ...]:
    """Return the operators that conditions of a type may have; those on elements depend on the key too."""
    if property_type in COHORT_TYPES:
        return _COHORT_OPERATORS
    return _FLAG_OPERATORS if property_type == "flag" else _PROPERTY_OPERATORS


def complement_of(operator: Operator) -> Operator | None:
    """Return the operator that holds exactly where another does not; None if there is none."""
    return POSITIVE_FORMS.get(operator) or _NEGATIVE_FORMS.get(operator)


def text_of(value: Scalar) -> str:
    """Return the value of a filter as the text of an equal property."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return print_float(value)
    return str(value)


def check_value(operator: Operator, value: Value) -> None:
    """Refuse a value that an operator cannot compare with.

    Raises
    ------
    InvalidFilter
        It names the operator, the value and what the operator takes.
    """
    if operator in NEEDS_NO_VALUE:
        return
    if value is None or (isinstance(value, tuple) and None in value):
        raise InvalidFilter(f"The operator {operator!r} needs a value, got null")
    takes, accepts = _VALUES.get(operator, _ANY)
    if not accepts(value):
        raise InvalidFilter(f"The operator {operator!r} takes {takes}, got {_shown(value)}")


def _shown(value: Value) -> str:
    shown = repr(list(value) if isinstance(value, tuple) else value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."


def _is_text_or_number(value: Scalar) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _is_one(value: Value) -> bool:
    return not isinstance(value, tuple) and _is_text_or_number(value)


def _is_ordered(value: Value) -> bool:
    """Whether a value is a text, or a number that is not too large for a float."""
    return _is_one(value) and not (is_decimal(_text_of_one(value)) and number_of_value(value) is None)


def _are_patterns(value: Value) -> bool:
    return all(map(_is_text_or_number, value)) if isinstance(value, tuple) else _is_text_or_number(value)


def _is_range(value: Value) -> bool:
    if not isinstance(value, tuple) or len(value) != _TWO:
        return False
    low, high = (number_of_value(bound) for bound in value)
    return low is not None and high is not None and low <= high


def _is_date(value: Value) -> bool:
    return _is_one(value) and parse_filter_date(_text_of_one(value)) is not None


def _is_version(value: Value) -> bool:
    return _is_one(value) and parse_version(_text_of_one(value)) is not None


def _is_tilde(value: Value) -> bool:
    return _is_one(value) and tilde_range(_text_of_one(value)) is not None


def _is_caret(value: Value) -> bool:
    return _is_one(value) and caret_range(_text_of_one(value)) is not None


def _is_wildcard(value: Value) -> bool:
    return _is_one(value) and wildcard_range(_text_of_one(value)) is not None


def _text_of_one(value: Value) -> str:
    return "" if isinstance(value, tuple) else text_of(value)


def number_of_value(value: Value) -> float | None:
    """Return the value of a filter as a finite number; None if it is not one."""
    if isinstance(value, tuple | bool) or value is None:
        return None
    return parse_number(str(value))


_Kind: TypeAlias = tuple[str, Callable[[Value], bool]]
_ANY: Final[_Kind] = ("any value", lambda _value: True)
_ORDERED: Final[_Kind] = ("a number or a text", _is_ordered)
_PATTERNS: Final[_Kind] = ("a regular expression or a list of them", _are_patterns)
_RANGE: Final[_Kind] = ("a list of two numbers, the lower one first", _is_range)
_DATE: Final[_Kind] = (f"a date: {DATE_FORMS}", _is_date)
_VERSION: Final[_Kind] = ("a version such as '1.2.3'", _is_version)
_VALUES: Final[Mapping[Operator, _Kind]] = {
    "regex": _PATTERNS,
    "not_regex": _PATTERNS,
    "gt": _ORDERED,
    "gte": _ORDERED,
    "lt": _ORDERED,
    "lte": _ORDERED,
    "min": _ORDERED,
    "max": _ORDERED,
    "between": _RANGE,
    "not_between": _RANGE,
    "is_date_exact": _DATE,
    "is_date_before": _DATE,
    "is_date_after": _DATE,
    "semver_eq": _VERSION,
    "semver_neq": _VERSION,
    "semver_gt": _VERSION,
    "semver_gte": _VERSION,
    "semver_lt": _VERSION,
    "semver_lte": _VERSION,
    "semver_tilde": ("a version such as '1.2.3'", _is_tilde),
    "semver_caret": ("a version such as '1.2.3'", _is_caret),
    "semver_wildcard": ("a version that ends with a star, such as '1.2.*'", _is_wildcard),
    "flag_evaluates_to": (
        "true, false or the key of a variant",
        lambda value: isinstance(value, bool) or (isinstance(value, str) and value != ""),
    ),
}
