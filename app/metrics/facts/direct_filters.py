"""Filters that the database decides itself, exactly as ``compile_filter`` does, on the raw tokens of properties.

A condition in SQL has three values: null where only the matcher can tell.
"""

import re
from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Double, and_, case, false, func, literal, not_, null, or_, true

from app.metrics.facts.matching import NO_NUMBER
from app.properties.filters import Condition, Conjunction, Node, conditions_of
from app.properties.operators import POSITIVE_FORMS, number_of_value

Token: TypeAlias = ColumnElement[Any]
# Returns the number of a token, ``NO_NUMBER`` where it is none, and null where only the matcher can tell.
ReadNumber: TypeAlias = Callable[[Token], ColumnElement[Any]]

# The statement names them all, and reads the number of a property for each comparison.
_MAX_CONDITIONS: Final = 10
_MAX_VALUES: Final = 100
_ORDERINGS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "gt": gt, "gte": ge, "lt": lt, "lte": le, "min": ge, "max": le,
}  # fmt: skip
# Texts that something else than a string may equal, or that are compared by a rule of their own.
_LIKE_A_NUMBER: Final = re.compile(r"[-+.0-9e]*|[-+]?(inf|infinity|nan)", re.IGNORECASE)
_WORDS: Final = frozenset({"true", "false", "null"})


def is_plain(text: str) -> bool:
    """Whether JSON writes a text as it is, between quotes."""
    return text != "" and text.isprintable() and '"' not in text and "\\" not in text


def keys_of(tree: Node) -> list[str]:
    """Return the properties that a filter reads, each once."""
    return list(dict.fromkeys(condition.key for condition in conditions_of(tree)))


def can_decide(tree: Node) -> bool:
    """Whether the database decides a filter, on most events."""
    conditions = list(conditions_of(tree))
    return len(conditions) <= _MAX_CONDITIONS and all(map(_can_decide, conditions))


def _can_decide(condition: Condition) -> bool:
    operator = POSITIVE_FORMS.get(condition.operator, condition.operator)
    if condition.type != "event" or not is_plain(condition.key):
        return False
    if operator == "exact":
        values = _values_of(condition)
        return 0 < len(values) <= _MAX_VALUES and all(map(_is_only_a_string, values))
    return operator == "is_set" or (operator in _ORDERINGS and number_of_value(condition.value) is not None)


def _values_of(condition: Condition) -> tuple[object, ...]:
    return condition.value if isinstance(condition.value, tuple) else (condition.value,)


def _is_only_a_string(value: object) -> bool:
    """Whether no property but a string of the same characters equals a value."""
    return (
        isinstance(value, str)
        and is_plain(value)
        and value.lower() not in _WORDS
        and value.strip()[:1] not in {"[", "{"}
        and _LIKE_A_NUMBER.fullmatch(value) is None
    )


def decided(tree: Node, tokens: Mapping[str, Token], read_number: ReadNumber) -> ColumnElement[bool]:
    """Return a filter that ``can_decide`` accepts, as a condition on the tokens of its properties.

    A token is the raw JSON of a property, empty where an event has none, and null where only the matcher can tell.
    """
    if isinstance(tree, Condition):
        holds = _condition(tree, tokens[tree.key], read_number)
        is_complement = (tree.operator in POSITIVE_FORMS) != tree.negation
        return not_(holds) if is_complement else holds
    children = [decided(child, tokens, read_number) for child in tree.children]
    if not children:
        return true()
    return and_(*children) if isinstance(tree, Conjunction) else or_(*children)


def _condition(condition: Condition, token: Token, read_number: ReadNumber) -> ColumnElement[bool]:
    operator = POSITIVE_FORMS.get(condition.operator, condition.operator)
    if operator == "is_set":
        return token != ""
    if operator == "exact":
        quoted = [f'"{value}"' for value in _values_of(condition)]
        is_written_otherwise = and_(func.substr(token, 1, 1) == '"', func.replace(token, "\\", "") != token)
        unsure = or_(token.is_(None), is_written_otherwise)
        return case((token.in_(quoted), true()), (unsure, null()), else_=false())
    value, bound = read_number(token), number_of_value(condition.value)
    is_in_order = _ORDERINGS[operator](value, literal(bound, Double))
    return case((value.is_(None), null()), (value == literal(NO_NUMBER, Double), false()), else_=is_in_order)
