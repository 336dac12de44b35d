"""Which cohorts a person is in, by their criteria. Pure."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from typing import Final

from app.people.cohorts.criteria import referred_cohorts
from app.properties.filters import Condition, Group
from app.properties.matcher import Properties, PropertyMatcher, compile_filter
from app.properties.subjects import require_cohort_id

_IS_IN: Final = b"true"


class CohortMatcher:
    """Tells of one person after the other which of some cohorts they are in.

    Parameters
    ----------
    criteria : mapping of int to Group
        Dynamic cohorts by id. A cohort that they refer to must be among them, or be given with each person; one that is
        neither has nobody in it.

    Notes
    -----
    Every cohort is decided once for a person, after those it refers to, so that it costs the same however often others
    refer to it. Cohorts that refer to each other in a circle have nobody in them: the service lets none arise.
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
            Raw JSON tokens of the person's properties, as far as ``keys`` name them.
        listed_in
            The static cohorts that the person is in.
        """
        found = set(listed_in)
        tokens = {**properties, **dict.fromkeys(map(_mark, found), _IS_IN)}
        for cohort_id, matcher in self._matchers:
            if matcher.matches(tokens):
                found.add(cohort_id)
                tokens[_mark(cohort_id)] = _IS_IN
        return found


def _in_order(criteria: Mapping[int, Group]) -> list[int]:
    """Return the cohorts with those that others refer to before them."""
    sorter = TopologicalSorter({cohort_id: referred_cohorts(group) for cohort_id, group in criteria.items()})
    with suppress(CycleError):  # what is not part of a circle still comes out
        sorter.prepare()
    ordered: list[int] = []
    while ready := sorter.get_ready():
        ordered += ready
        sorter.done(*ready)
    return [cohort_id for cohort_id in ordered if cohort_id in criteria]


def _resolve(condition: Condition) -> PropertyMatcher:
    mark = _mark(require_cohort_id(condition))
    if condition.negation:
        return PropertyMatcher(frozenset(), lambda tokens: mark not in tokens)
    return PropertyMatcher(frozenset(), lambda tokens: mark in tokens)


def _mark(cohort_id: int) -> str:
    """Return a key under which membership stands beside properties: none of them can be called so."""
    return f"\0cohort {cohort_id}"
