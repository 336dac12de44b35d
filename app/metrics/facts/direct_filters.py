"""Filters that the database decides itself, exactly as ``compile_filter`` does, on the raw tokens of properties.

A condition in SQL has three values: null where only the matcher can tell.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, and_, case, false, func, null, or_, true

from app.properties.filters import Condition, Conjunction, Node, conditions_of

Token: TypeAlias = ColumnElement[Any]

_MAX_VALUES: Final = 100
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
    """Whether the database decides a filter, on most events: strings that properties must equal, all of them."""
    if isinstance(tree, Condition):
        values = _values_of(tree)
        is_equality = tree.operator == "exact" and not tree.negation and tree.type == "event" and is_plain(tree.key)
        return is_equality and 0 < len(values) <= _MAX_VALUES and all(map(_is_only_a_string, values))
    return isinstance(tree, Conjunction) and all(map(can_decide, tree.children))


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


def decided(tree: Node, tokens: Mapping[str, Token]) -> ColumnElement[bool]:
    """Return a filter that ``can_decide`` accepts, as a condition on the tokens of its properties.

    A token is the raw JSON of a property, empty where an event has none, and null where only the matcher can tell.
    """
    if not isinstance(tree, Condition):
        return and_(true(), *(decided(child, tokens) for child in tree.children))
    token = tokens[tree.key]
    quoted = [f'"{value}"' for value in _values_of(tree)]
    is_written_otherwise = and_(func.substr(token, 1, 1) == '"', func.replace(token, "\\", "") != token)
    unsure = or_(token.is_(None), is_written_otherwise)
    return case((token.in_(quoted), true()), (unsure, null()), else_=false())
