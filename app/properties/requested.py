"""Filters in the query string of a list."""

import json
from typing import get_args

from app.properties.budget import FilterBudget
from app.properties.filters import Conjunction, Group, InvalidFilter, Operator, is_group, parse_filter

_SHOWN_CHARACTERS = 100


def parse_requested(text: str | None) -> Group:
    """Parse a filter as a client writes it into the query string: JSON text, in any form that `parse_filter` reads.

    Raises
    ------
    InvalidFilter
        For whatever is not understood: a list without the condition would show more.
    """
    if not text:
        return Conjunction()
    FilterBudget().count(text)
    tree = parse_filter(text)
    _refuse_unknown(json.loads(text))
    return tree


def _refuse_unknown(document: object) -> None:
    """Refuse conditions that would be left out, or whose operator would be taken for another."""
    if isinstance(document, dict) and not is_group(document):
        _refuse_unknown_suffixes(document)
        return
    waiting = [document]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, list):
            waiting += entry
        elif is_group(entry):
            waiting.append(entry["values"])
        else:
            _refuse_unreadable(entry)


def _refuse_unreadable(entry: object) -> None:
    operator = entry.get("operator") if isinstance(entry, dict) else None
    if operator is not None and operator not in get_args(Operator):
        raise InvalidFilter(f"The operator {_shown(operator)} is not known; known are {', '.join(get_args(Operator))}")
    if entry is not None and not parse_filter([entry]).children:
        raise InvalidFilter(f"Not a valid property: {_shown(entry)}")


def _refuse_unknown_suffixes(entry: dict[str, object]) -> None:
    for name in entry:
        _, *operators = name.split("__")
        if operators and operators[0] not in get_args(Operator):
            raise InvalidFilter(f"The operator {_shown(operators[0])} is not known")


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:_SHOWN_CHARACTERS]
