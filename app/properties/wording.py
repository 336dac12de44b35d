"""Says conditions on properties in words; names and values stand in backticks."""

import json
from collections.abc import Mapping
from typing import Final

from app.properties.filters import Condition, Conjunction, Disjunction, Group, Node
from app.properties.operators import COHORT_TYPES, NEEDS_NO_VALUE, Operator, Scalar

_WORDS: Final[Mapping[Operator, str]] = {
    "exact": "is",
    "is_not": "is not",
    "icontains": "contains",
    "not_icontains": "does not contain",
    "starts_with": "starts with",
    "not_starts_with": "does not start with",
    "ends_with": "ends with",
    "not_ends_with": "does not end with",
    "regex": "matches",
    "not_regex": "does not match",
    "gt": "is more than",
    "gte": "is at least",
    "lt": "is less than",
    "lte": "is at most",
    "min": "is at least",
    "max": "is at most",
    "between": "is between",
    "not_between": "is not between",
    "is_set": "is set",
    "is_not_set": "is not set",
    "is_date_exact": "is on",
    "is_date_before": "is before",
    "is_date_after": "is after",
    "in": "is in",
    "not_in": "is not in",
    "flag_evaluates_to": "is",
}
_SHOWN_VALUES: Final = 5
_SHOWN_CHARACTERS: Final = 80
_SUBJECTS: Final[Mapping[str, str]] = {
    "person": "the person's ",
    "group": "the group's ",
    "session": "the session's ",
    "element": "the element's ",
    "flag": "the flag ",
}


def describe_filter(tree: Group) -> str:
    """Return a filter as a clause; empty where it lets everything pass."""
    return _describe(tree)


def _describe(node: Node) -> str:
    match node:
        case Condition():
            return describe_condition(node)
        case Conjunction() | Disjunction():
            parts = [text for child in node.children if (text := _describe(child))]
            if len(parts) == 1:
                return parts[0]
            joined = (" and " if isinstance(node, Conjunction) else " or ").join(parts)
            return f"({joined})" if isinstance(node, Disjunction) and parts else joined


def describe_condition(condition: Condition) -> str:
    """Return a condition as a clause."""
    if condition.type in COHORT_TYPES:
        is_in = (condition.operator in {"exact", "in"}) != condition.negation
        return f"the person is {'' if is_in else 'not '}in the cohort {_describe_value(condition)}"
    subject = f"{_SUBJECTS.get(condition.type, '')}`{_cut(condition.key)}`"
    words = [subject, _WORDS.get(condition.operator, condition.operator.replace("_", " "))]
    if condition.operator not in NEEDS_NO_VALUE:
        words.append(_describe_value(condition))
    text = " ".join(words)
    return f"not ({text})" if condition.negation else text


def _describe_value(condition: Condition) -> str:
    value = condition.value
    if not isinstance(value, tuple):
        return _quote(value)
    shown = [_quote(one) for one in value[:_SHOWN_VALUES]]
    if condition.operator in {"between", "not_between"}:
        return " and ".join(shown)
    more = f" or one of {len(value) - _SHOWN_VALUES} more" if len(value) > _SHOWN_VALUES else ""
    return " or ".join(shown) + more


def _quote(value: Scalar) -> str:
    if value == "":
        return "empty"  # there is nothing to see between backticks
    return f"`{_cut(value if isinstance(value, str) else json.dumps(value))}`"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
