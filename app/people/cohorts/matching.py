"""Which cohorts a person is in, according to criteria."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Final

from app.properties.filters import Condition, Group
from app.properties.matcher import Properties, PropertyMatcher, compile_filter
from app.properties.subjects import cohorts_in, excludes_members, named_cohort

_MEMBER: Final = b"true"


class CohortMatcher:
    """Evaluates cohorts for one person after another.

    Parameters
    ----------
    criteria : mapping of int to Group
        Dynamic cohorts by id.
    listed : collection of int
        The cohorts whose members are passed with each person: static ones. So are dynamic ones without a condition,
        which have no members.
    ignores_case
        Whether ``exact`` and ``is_not`` find texts equal that differ in case.

    Attributes
    ----------
    known : frozenset of int
        The cohorts that can be evaluated. Those that refer to others which are neither in ``criteria`` nor ``listed``
        cannot, directly or through others; nor can those that refer to each other in a circle, which the service
        refuses. They have no members, and no condition on them holds, not even one that excludes their members.

    Notes
    -----
    Each cohort is evaluated once for a person, after those it refers to, so its cost does not depend on how many others
    refer to it.
    """

    def __init__(
        self, criteria: Mapping[int, Group], listed: Collection[int] = (), *, ignores_case: bool = False
    ) -> None:
        known = set(listed)
        self._matchers: list[tuple[int, PropertyMatcher]] = []
        for cohort_id in _in_order(criteria):
            if cohorts_in(criteria[cohort_id]) <= known:
                known.add(cohort_id)
                matcher = compile_filter(criteria[cohort_id], _resolve, ignores_case=ignores_case)
                self._matchers.append((cohort_id, matcher))
        self.known = frozenset(known)
        self.keys = frozenset[str]().union(*(matcher.keys for _, matcher in self._matchers))

    @property
    def has_criteria(self) -> bool:
        """Whether any cohort is evaluated by criteria."""
        return bool(self._matchers)

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
        tokens = {**properties, **dict.fromkeys(map(_membership_key, found), _MEMBER)}
        for cohort_id, matcher in self._matchers:
            if matcher.matches(tokens):
                found.add(cohort_id)
                tokens[_membership_key(cohort_id)] = _MEMBER
        return found


def _in_order(criteria: Mapping[int, Group]) -> list[int]:
    """Return the cohorts in an order in which each one follows those it refers to."""
    sorter = TopologicalSorter({cohort_id: cohorts_in(group) for cohort_id, group in criteria.items()})
    with suppress(CycleError):  # cohorts outside the circle are still returned
        sorter.prepare()
    ordered: list[int] = []
    while ready := sorter.get_ready():
        ordered += ready
        sorter.done(*ready)
    return [cohort_id for cohort_id in ordered if cohort_id in criteria]


def _resolve(condition: Condition) -> PropertyMatcher:
    test = _is_outside if excludes_members(condition) else _is_inside
    return PropertyMatcher(frozenset(), partial(test, _membership_key(named_cohort(condition))))


def _is_inside(key: str, tokens: Properties) -> bool:
    return key in tokens


def _is_outside(key: str, tokens: Properties) -> bool:
    return key not in tokens


def _membership_key(cohort_id: int) -> str:
    """Return the key of a membership among the tokens; stored properties cannot have it, because it holds a NUL."""
    return f"\0cohort {cohort_id}"
