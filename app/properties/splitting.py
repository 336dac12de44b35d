"""Splits filters into conditions on the event itself, and conditions on who sent it, which may change later."""

from dataclasses import dataclass
from itertools import product
from typing import Final

from app.properties.filters import (
    Condition,
    Conjunction,
    Disjunction,
    Group,
    InvalidFilter,
    Node,
    PropertyType,
    canonical,
)

EVENT_TYPES: Final[frozenset[PropertyType]] = frozenset({"event", "element"})

_MOST_ALTERNATIVES: Final = 32


@dataclass(frozen=True)
class Alternative:
    """One way to satisfy a filter: both parts match. ``event`` reads only the event, ``later`` everything else."""

    event: Group
    later: Group


def alternatives(tree: Group) -> list[Alternative]:
    """Return the alternatives of a filter, which matches if at least one of them does.

    There is exactly one unless a disjunction mixes conditions on events with others.

    Raises
    ------
    InvalidFilter
        When there are more than 32 alternatives.
    """
    return _merged(_alternatives(tree))


def _alternatives(node: Node) -> list[Alternative]:
    if node.types <= EVENT_TYPES:
        return [Alternative(_group(node), Conjunction())]
    if not node.types & EVENT_TYPES or isinstance(node, Condition):
        return [Alternative(Conjunction(), _group(node))]
    parts = [_alternatives(child) for child in node.children]
    if isinstance(node, Disjunction):
        return _bounded(_merged([alternative for part in parts for alternative in part]))
    found = [Alternative(Conjunction(), Conjunction())]
    for part in parts:
        found = _bounded([_both(one, other) for one, other in product(found, part)])
    return found


def _merged(found: list[Alternative]) -> list[Alternative]:
    """Merge alternatives with equal later parts, and then those with equal event parts."""
    by_later: dict[str, list[Alternative]] = {}
    for one in found:
        by_later.setdefault(canonical(one.later), []).append(one)
    found = [Alternative(_any([one.event for one in same]), same[0].later) for same in by_later.values()]
    by_event: dict[str, list[Alternative]] = {}
    for one in found:
        by_event.setdefault(canonical(one.event), []).append(one)
    return [Alternative(same[0].event, _any([one.later for one in same])) for same in by_event.values()]


def _bounded(found: list[Alternative]) -> list[Alternative]:
    if len(found) > _MOST_ALTERNATIVES:
        raise InvalidFilter("Too many combinations of conditions on events with other conditions")
    return found


def _both(one: Alternative, other: Alternative) -> Alternative:
    return Alternative(_all(one.event, other.event), _all(one.later, other.later))


def _all(one: Group, other: Group) -> Group:
    if not one.children or not other.children:
        return one if one.children else other
    return Conjunction((*_members(one), *_members(other)))


def _members(group: Group) -> tuple[Node, ...]:
    return group.children if isinstance(group, Conjunction) else (group,)


def _any(groups: list[Group]) -> Group:
    if any(not group.children for group in groups):
        return Conjunction()  # one of them always matches
    return groups[0] if len(groups) == 1 else Disjunction(tuple(groups))


def _group(node: Node) -> Group:
    return Conjunction((node,)) if isinstance(node, Condition) else node


def both(one: Group, other: Group) -> Group:
    """Return the filter that matches if both do."""
    return _all(one, other)
