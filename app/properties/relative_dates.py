"""Relative dates in conditions on events, made absolute.

Facts are made of events once, so that a condition on an event cannot depend on when it is read.
"""

from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar, cast

from app.properties.dates import RelativeDate, parse_filter_date
from app.properties.filters import Condition, Node
from app.properties.operators import Operator
from app.properties.splitting import EVENT_TYPES

_DATE_OPERATORS: Final[frozenset[Operator]] = frozenset({"is_date_exact", "is_date_before", "is_date_after"})

NodeT = TypeVar("NodeT", bound=Node)


def resolve_relative_dates(tree: NodeT, now: datetime) -> NodeT:
    """Return a filter whose conditions on events compare with the dates that their relative dates mean.

    Now is the beginning of the current hour: so facts, which are made anew when it changes, serve for an hour.
    """
    if not tree.types & EVENT_TYPES:
        return tree
    return cast("NodeT", _resolved(tree, now.replace(minute=0, second=0, microsecond=0)))


def _resolved(node: Node, now: datetime) -> Node:
    if isinstance(node, Condition):
        return _absolute(node, now) if node.type in EVENT_TYPES and node.operator in _DATE_OPERATORS else node
    return replace(node, children=tuple(_resolved(child, now) for child in node.children))


def _absolute(condition: Condition, now: datetime) -> Condition:
    date = parse_filter_date(condition.value) if isinstance(condition.value, str) else None
    bound = date.before(now) if isinstance(date, RelativeDate) else None
    if bound is None:
        return condition
    at = bound.at.date() if condition.operator == "is_date_exact" else bound.at
    return replace(condition, value=at.isoformat())
