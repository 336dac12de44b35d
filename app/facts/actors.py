"""Conditions on who is behind a fact: persons, cohorts, groups and sessions, as they are when somebody asks. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.facts.columns import FactColumns
from app.properties.filters import Condition, Disjunction, Node, PropertyType

Mask: TypeAlias = NDArray[np.bool_]

_COHORTS: frozenset[PropertyType] = frozenset({"cohort", "static-cohort", "precalculated-cohort"})


@dataclass(frozen=True)
class Subject:
    """What a condition is about. ``group_type_index`` is -1 but for groups."""

    kind: Literal["person", "group", "session"]
    group_type_index: int = -1


def atoms(node: Node) -> list[Node]:
    """Return the largest parts of a filter each of which can be answered by one look: the ids that pass.

    Conditions on the properties of persons stay together, so do those on groups of one type and those on sessions;
    every cohort is one by itself.
    """
    if isinstance(node, Condition) or (subject(node) is not None and not node.types & _COHORTS):
        return [node]
    return [atom for child in node.children for atom in atoms(child)]


def subject(node: Node) -> Subject | None:
    """Return what all conditions of a filter are about, or None when they differ or there are none."""
    if isinstance(node, Condition):
        return _subject(node)
    subjects = {subject(child) for child in node.children}
    return subjects.pop() if len(subjects) == 1 else None


def is_cohort(node: Node) -> bool:
    """Whether the node asks for the members of a cohort."""
    return isinstance(node, Condition) and node.type in _COHORTS


def cohort_id(condition: Node) -> int | None:
    """Return the id of the cohort that a condition names, or None when it names none.

    Nothing but the id counts: in 2022 neither the operator nor a negation made a difference here.
    """
    value = condition.value if isinstance(condition, Condition) else None
    try:
        return int(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except ValueError:
        return None


def holds(node: Node, masks: Mapping[int, Mask], count: int) -> Mask:
    """Combine the answers to the atoms of a filter.

    Parameters
    ----------
    masks : mapping of int to bool[count]
        For each atom, by its ``id()``, which facts pass.
    """
    if id(node) in masks:
        return masks[id(node)]
    if isinstance(node, Condition):
        raise LookupError(f"no answer to the condition {node!r}")
    parts = [holds(child, masks, count) for child in node.children]
    if not parts:
        return np.ones(count, dtype=np.bool_)
    together = np.stack(parts)
    return np.asarray(together.any(axis=0) if isinstance(node, Disjunction) else together.all(axis=0))


def actors_of(facts: FactColumns, companion: FactColumns) -> tuple[NDArray[np.int64], Mask]:
    """Return who is behind each fact according to another series of the same events, and where anybody is."""
    if companion is facts:
        return facts.actor, np.ones(len(facts), dtype=np.bool_)
    if not len(companion):
        return np.zeros(len(facts), dtype=np.int64), np.zeros(len(facts), dtype=np.bool_)
    order = np.argsort(companion.sequence)
    sequence = companion.sequence[order]
    position = np.minimum(np.searchsorted(sequence, facts.sequence), len(sequence) - 1)
    return companion.actor[order][position], sequence[position] == facts.sequence


def _subject(condition: Condition) -> Subject:
    if condition.type == "group":
        return Subject("group", -1 if condition.group_type_index is None else condition.group_type_index)
    if condition.type == "session":
        return Subject("session")
    if condition.type == "person" or condition.type in _COHORTS:
        return Subject("person")
    raise ValueError(f"a condition on {condition.type!r} is decided when a fact is made")
