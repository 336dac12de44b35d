"""Splits filters into conditions on the event itself, and conditions on who sent it, which may change later."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.common import limits
from app.properties.filters import (
    Condition,
    Conjunction,
    Disjunction,
    Group,
    InvalidFilter,
    Node,
    PropertyType,
    canonical,
    conditions_of,
)

EVENT_TYPES: Final[frozenset[PropertyType]] = frozenset({"event", "element"})


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
        When there are too many alternatives.
    """
    return _merged(_alternatives(tree))


def _alternatives(node: Node) -> list[Alternative]:
    if node.types <= EVENT_TYPES:
        return [Alternative(_group(node), Conjunction())]
    if not node.types & EVENT_TYPES or isinstance(node, Condition):
        return [Alternative(Conjunction(), _group(node))]
    parts = [_alternatives(child) for child in node.children]
    if isinstance(node, Disjunction):
        found = _merged([alternative for part in parts for alternative in part])
        _refuse_too_many(len(found))
        return found
    return _combined(parts, sum(1 for _ in conditions_of(node)))


def _combined(parts: Sequence[Sequence[Alternative]], size: int) -> list[Alternative]:
    """Return the combinations of one alternative of each part, which have ``size`` conditions at most."""
    found: list[tuple[list[Group], list[Group]]] = [([], [])]
    for part in parts:
        if len(part) > 1:
            _refuse_too_many(len(found) * len(part), size)
            found = [(events[:], later[:]) for events, later in found for _ in part]
        for position, (events, later) in enumerate(found):
            one = part[position % len(part)]
            events.append(one.event)
            later.append(one.later)
    return [Alternative(_all(events), _all(later)) for events, later in found]


def _merged(found: list[Alternative]) -> list[Alternative]:
    """Merge alternatives with equal later parts, and then those with equal event parts."""
    if len(found) == 1:
        return found
    by_later: dict[str, list[Alternative]] = {}
    for one in found:
        by_later.setdefault(canonical(one.later), []).append(one)
    found = [Alternative(_any([one.event for one in same]), same[0].later) for same in by_later.values()]
    by_event: dict[str, list[Alternative]] = {}
    for one in found:
        by_event.setdefault(canonical(one.event), []).append(one)
    return [Alternative(same[0].event, _any([one.later for one in same])) for same in by_event.values()]


def _refuse_too_many(count: int, size: int = 0) -> None:
    if count > limits.FILTER_ALTERNATIVES.value or count * size > limits.ALTERNATIVES.value:
        raise InvalidFilter(limits.FILTER_ALTERNATIVES.detail)


def _all(groups: Sequence[Group]) -> Group:
    """Return the conjunction of filters, without those that always match."""
    restricting = [group for group in groups if group.children]
    if len(restricting) == 1:
        return restricting[0]
    return Conjunction(tuple(member for group in restricting for member in _members(group)))


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
    return _all((one, other))
