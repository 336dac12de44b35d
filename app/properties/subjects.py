"""The subjects of filters: persons, cohorts, groups or sessions."""

from dataclasses import dataclass
from typing import Literal, TypeGuard

from app.common.ids import read_reference
from app.properties.errors import InvalidFilter
from app.properties.filters import Condition, Node, conditions_of
from app.properties.operators import COHORT_TYPES

DURATION_PROPERTY = "$session_duration"


@dataclass(frozen=True)
class Subject:
    """What a condition is about. ``group_type_index`` is -1 except for groups."""

    kind: Literal["person", "group", "session"]
    group_type_index: int = -1


def atoms(node: Node) -> list[Node]:
    """Return the largest parts of a filter each of which one query can evaluate, to the ids that match.

    Conditions on persons stay together, as do those on groups of one type and those on sessions; every cohort is a part
    of its own.
    """
    if isinstance(node, Condition) or (subject(node) is not None and not node.types & COHORT_TYPES):
        return [node]
    return [atom for child in node.children for atom in atoms(child)]


def subject(node: Node) -> Subject | None:
    """Return the subject that all conditions of a filter share; None if they differ or there are none."""
    if isinstance(node, Condition):
        return _subject(node)
    subjects = {subject(child) for child in node.children}
    return subjects.pop() if len(subjects) == 1 else None


def is_cohort(node: Node) -> TypeGuard[Condition]:
    """Whether the node is a condition on the members of a cohort."""
    return isinstance(node, Condition) and node.type in COHORT_TYPES


def named_cohort(condition: Condition) -> int:
    """Return the id of the cohort that a condition names.

    Raises
    ------
    InvalidFilter
        When its value is not an id.
    """
    found = read_reference(condition.value)
    if found is None:
        raise InvalidFilter(f"A cohort is referred to by its id, got {condition.value_json[:100]}")
    return found


def excludes_members(condition: Condition) -> bool:
    """Whether a condition on a cohort holds for those who are not in it, rather than for its members."""
    return (condition.operator in {"is_not", "not_in"}) != condition.negation


def cohorts_in(node: Node) -> frozenset[int]:
    """Return the ids of the cohorts that a filter names.

    Raises
    ------
    InvalidFilter
        When a condition on a cohort does not name one by its id.
    """
    return frozenset(named_cohort(condition) for condition in conditions_of(node) if is_cohort(condition))


def _subject(condition: Condition) -> Subject:
    if condition.type == "group":
        return Subject("group", -1 if condition.group_type_index is None else condition.group_type_index)
    if condition.type == "session":
        return Subject("session")
    if condition.type == "person" or condition.type in COHORT_TYPES:
        return Subject("person")
    raise ValueError(f"a condition on {condition.type!r} has no subject: it is evaluated when a fact is created")
