"""Which cohorts a person is in, according to criteria."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from typing import Final

from app.people.cohorts.criteria import referred_cohorts
from app.properties.filters import Condition, Group
from app.properties.matcher import Properties, PropertyMatcher, compile_filter
from app.properties.subjects import require_cohort_id

_TRUE: Final = b"true"


class CohortMatcher:
    """Evaluates cohorts for one person after another.

    Parameters
    ----------
    criteria : mapping of int to Group
        Dynamic cohorts by id. A cohort that they refer to must be among them, or be passed with each person; otherwise
        it has no members.

    Notes
    -----
    Each cohort is evaluated once for a person, after those it refers to, so its cost does not depend on how many others
    refer to it. Cohorts that refer to each other in a circle have no members; the service refuses such references.
    """

    def __init__(self, criteria: Mapping[int, Group]) -> None:
        self._matchers = [
            (cohort_id, compile_filter(criteria[cohort_id], _resolve)) for cohort_id in _in_order(criteria)
        ]
        self.keys = frozenset[str]().union(*(matcher.keys for _, matcher in self._matchers))

    def cohorts_of(self, properties: Properties, listed_in: Iterable[int] = ()) -> set[int]:
        """Return the cohorts that a person is in.

        Parameters
        ----------
        properties
            Raw JSON tokens of those of the person's properties that are in ``keys``.
        listed_in
            The static cohorts whose lists contain the person.
        """
        found = set(listed_in)
        tokens = {**properties, **dict.fromkeys(map(_membership_key, found), _TRUE)}
        for cohort_id, matcher in self._matchers:
            if matcher.matches(tokens):
                found.add(cohort_id)
                tokens[_membership_key(cohort_id)] = _TRUE
        return found


def _in_order(criteria: Mapping[int, Group]) -> list[int]:
    """Return the cohorts in an order in which each one follows those it refers to."""
    sorter = TopologicalSorter({cohort_id: referred_cohorts(group) for cohort_id, group in criteria.items()})
    with suppress(CycleError):  # cohorts outside the circle are still returned
        sorter.prepare()
    ordered: list[int] = []
    while ready := sorter.get_ready():
        ordered += ready
        sorter.done(*ready)
    return [cohort_id for cohort_id in ordered if cohort_id in criteria]


def _resolve(condition: Condition) -> PropertyMatcher:
    key = _membership_key(require_cohort_id(condition))
    if condition.negation:
        return PropertyMatcher(frozenset(), lambda tokens: key not in tokens)
    return PropertyMatcher(frozenset(), lambda tokens: key in tokens)


def _membership_key(cohort_id: int) -> str:
    """Return the key of a membership among the tokens; stored properties cannot have it, because it holds a NUL."""
    return f"\0cohort {cohort_id}"
