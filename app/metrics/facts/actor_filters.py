"""Filters on the actors of facts: persons, cohorts, groups and sessions, as they are when facts are read."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.metrics.facts.columns import FactColumns
from app.properties.filters import Condition, Disjunction, Node

Mask: TypeAlias = NDArray[np.bool_]


def holds(node: Node, masks: Mapping[int, Mask], count: int) -> Mask:
    """Combine the results of the atoms of a filter.

    Parameters
    ----------
    masks : mapping of int to bool[count]
        For each atom, by its ``id()``, which facts pass.
    """
    if id(node) in masks:
        return masks[id(node)]
    if isinstance(node, Condition):
        raise LookupError(f"no result for the condition {node!r}")
    parts = [holds(child, masks, count) for child in node.children]
    if not parts:
        return np.ones(count, dtype=np.bool_)
    together = np.stack(parts)
    return np.asarray(together.any(axis=0) if isinstance(node, Disjunction) else together.all(axis=0))


def actors_of(facts: FactColumns, companion: FactColumns) -> tuple[NDArray[np.int64], Mask]:
    """Return the actor of each fact from another series of the same events, and which facts have one there."""
    if companion is facts:
        return facts.actor, np.ones(len(facts), dtype=np.bool_)
    if not len(companion):
        return np.zeros(len(facts), dtype=np.int64), np.zeros(len(facts), dtype=np.bool_)
    order = np.argsort(companion.sequence)
    sequence = companion.sequence[order]
    position = np.minimum(np.searchsorted(sequence, facts.sequence), len(sequence) - 1)
    return companion.actor[order][position], sequence[position] == facts.sequence
