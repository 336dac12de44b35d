"""The steps of an action as event names, each with a property filter."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import re2

from app.common import limits
from app.properties.budget import FilterBudget, check_size, exceeded
from app.properties.filters import (
    Condition,
    Conjunction,
    Group,
    InvalidFilter,
    Node,
    Operator,
    conditions_of,
    parse_filter,
)
from app.properties.matcher import compile_filter
from app.properties.patterns import regular_expression
from app.properties.subjects import is_cohort, named_cohort

Matching: TypeAlias = Literal["contains", "regex", "exact"]
Step: TypeAlias = Mapping[str, object]

URL: Final = "$current_url"
AUTOCAPTURE: Final = "$autocapture"

_ELEMENT_OPERATORS: Final[Mapping[Matching, Operator]] = {
    "contains": "icontains",
    "regex": "regex",
    "exact": "exact",
}
_PATTERNS: Final = ("url", "text", "href", "selector", "tag_name")  # all are searched for by regular expressions
_LIKE_WILDCARDS: Final = {"%": ".*", "_": "."}


@dataclass(frozen=True, slots=True)
class Alternative:
    """One step of an action: an event of this name that passes the filter.

    The filter is the conjunction of the step's own properties, of its URL (a condition on ``$current_url``) and, for
    autocaptured events, of conditions of the type ``element`` with the keys ``tag_name``, ``text``, ``href`` and
    ``selector``.
    """

    event: str
    filter: Group


def alternatives(steps: Sequence[Step]) -> tuple[Alternative, ...]:
    """Return the alternatives of an action, in the order of its steps; an event that passes one of them matches.

    A step without an event's name matches no event and is left out; an action without steps matches no event either.

    Raises
    ------
    InvalidFilter
        When the properties of a step cannot be read. They are validated before an action is stored.
    """
    return tuple(
        Alternative(event, _filter(event, step))
        for step in steps
        if isinstance(event := step.get("event"), str) and event
    )


def check_limits(steps: object) -> None:
    """Refuse steps that are too many or too large, in any form, before they are read.

    Raises
    ------
    InvalidFilter
        Its ``code`` names the limit.
    """
    if not isinstance(steps, list):
        return
    if len(steps) > limits.ACTION_STEPS.value:
        raise exceeded(limits.ACTION_STEPS, "too_many_steps")
    check_size(steps)
    budget = FilterBudget()
    for step in steps:
        if isinstance(step, Mapping):
            budget.count(step.get("properties"))
            for text in filter(None, (_text(step, key) for key in _PATTERNS)):
                budget.add_pattern(text)


def trees_in(steps: object) -> list[Node]:
    """Return the filters in steps as they were sent, also of steps without an event; without those that are invalid."""
    trees: list[Node] = []
    for step in steps if isinstance(steps, list) else []:
        if isinstance(step, Mapping):
            with suppress(InvalidFilter):
                trees.append(_filter(AUTOCAPTURE, step))
    return trees


def check_pattern(pattern: str) -> None:
    """Refuse a regular expression that RE2 does not accept.

    Raises
    ------
    InvalidFilter
        Its ``detail`` is the reason.
    """
    regular_expression(pattern)


def check_properties(properties: object) -> None:
    """Refuse properties of a step that cannot be read, an invalid pattern, and a cohort that is not named by its id.

    Raises
    ------
    InvalidFilter
        Its ``detail`` is the reason.
    """
    for condition in conditions_of(parse_filter(properties)):
        if is_cohort(condition):
            named_cohort(condition)
        else:
            compile_filter(condition)


def _filter(event: str, step: Step) -> Conjunction:
    parts: list[Node] = []
    properties = parse_filter(step.get("properties"))
    if properties.children:
        parts.append(properties)
    if url := _text(step, "url"):
        parts.append(_url_condition(url, _matching(step, "url_matching", "contains")))
    if event == AUTOCAPTURE:
        parts += _element_conditions(step)
    return Conjunction(tuple(parts))


def _url_condition(url: str, matching: Matching) -> Condition:
    if matching == "exact":
        return Condition(URL, "exact", (url,))  # values in a list are compared as text, even if they are JSON
    return Condition(URL, "regex", url if matching == "regex" else _like(url))


def _like(fragment: str) -> str:
    r"""Return a regular expression that is found where a case-sensitive ``LIKE '%fragment%'`` holds.

    ``%`` stands for any text and ``_`` for any character; ``\%``, ``\_`` and ``\\`` are literal.
    """
    parts = ["(?s)"]
    characters = iter(fragment)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            literal = following if following and following in "%_\\" else "\\" + following
            parts.append(re2.escape(literal))
        else:
            parts.append(_LIKE_WILDCARDS.get(character) or re2.escape(character))
    return "".join(parts)


def _element_conditions(step: Step) -> Iterator[Condition]:
    if tag_name := _text(step, "tag_name"):
        yield Condition("tag_name", "exact", tag_name, "element")
    for key in ("text", "href"):
        if value := _text(step, key):
            operator = _ELEMENT_OPERATORS[_matching(step, f"{key}_matching", "exact")]
            yield Condition(key, operator, value, "element")
    if selector := _text(step, "selector"):
        yield Condition("selector", "exact", selector, "element")


def _text(step: Step, key: str) -> str:
    value = step.get(key)
    return value if isinstance(value, str) else ""


def _matching(step: Step, key: str, default: Matching) -> Matching:
    value = step.get(key)
    return next((known for known in _ELEMENT_OPERATORS if known == value), default)
