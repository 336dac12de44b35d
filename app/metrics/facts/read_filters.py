"""Filters that are evaluated when facts are read, against persons, groups, cohorts and sessions as of today."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from app.metrics.facts.actor_filters import Mask, actors_of, holds
from app.metrics.facts.columns import FactColumns
from app.metrics.facts.event_sets import SESSIONS, FilteredSeries, group_property
from app.metrics.facts.series import SeriesDefinition
from app.metrics.facts.sessions import MARGIN, sessions_matching
from app.people.cohorts.repository import CohortRepository
from app.people.cohorts.service import CohortService
from app.people.erased_persons.answers import digest_of
from app.people.erased_persons.repository import ErasedPersonRepository
from app.people.groups.service import GroupFilterService
from app.people.persons.repository import PersonRepository
from app.people.persons.service import PersonFilterService, PersonService
from app.properties.filters import Condition, Conjunction, Node
from app.properties.matcher import compile_filter
from app.properties.subjects import Subject, atoms, excludes_members, is_cohort, named_cohort, subject

# Reads the facts of a series inside the window, padded by a number of microseconds on both sides.
ReadFacts: TypeAlias = Callable[[SeriesDefinition, int], Awaitable[FactColumns]]


class CohortMembers(Protocol):
    """Looks up the members of cohorts; None for a cohort that is gone or not understood."""

    async def members(self, session: AsyncSession, project_id: int, cohort_id: int) -> NDArray[np.int64] | None: ...


class ProjectCohorts:
    """The cohorts stored in the database."""

    async def members(self, session: AsyncSession, project_id: int, cohort_id: int) -> NDArray[np.int64] | None:
        return await cohorts_of_project(session, project_id).members(cohort_id)


def cohorts_of_project(session: AsyncSession, project_id: int) -> CohortService:
    """Return the cohorts of a project as a session reads them."""
    persons = PersonService(PersonRepository(session, project_id))
    return CohortService(CohortRepository(session, project_id), persons)


class ConditionService:
    """Evaluates the conditions of filtered series, inside the snapshot in which facts are read."""

    def __init__(self, session: AsyncSession, project_id: int, cohorts: CohortMembers, read: ReadFacts) -> None:
        self._session = session
        self._project_id = project_id
        self._cohorts = cohorts
        self._read = read

    async def passing(self, part: FilteredSeries, facts: FactColumns) -> FactColumns:
        """Return the facts of a filtered series that pass its condition."""
        if not part.condition.children:
            return facts
        companions = part.companions
        masks: dict[int, Mask] = {}
        for atom in atoms(part.condition):
            about = subject(atom)
            if about is None:
                raise ValueError(f"an atom is about one subject, got {atom!r}")
            series = companions[about]
            companion = facts if series is part.series else await self._read(series, 0)
            actor, known = actors_of(facts, companion)
            masks[id(atom)] = known & await self._passes(atom, about, actor)
        return facts.select(holds(part.condition, masks, len(facts)))

    async def _passes(self, atom: Node, about: Subject, actor: NDArray[np.int64]) -> Mask:
        """Return which of the actors pass."""
        if not is_cohort(atom):
            return np.isin(actor, await self._matching(atom, about, actor))
        members = await self._cohorts.members(self._session, self._project_id, named_cohort(atom))
        if members is None:  # then neither its members nor the others are known
            return np.zeros(len(actor), dtype=np.bool_)
        members = np.union1d(members, await self._erased_passing(atom))
        return np.isin(actor, members, invert=excludes_members(atom))

    async def _matching(self, atom: Node, about: Subject, actor: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the actors that pass, of some or of all."""
        condition = Conjunction((atom,)) if isinstance(atom, Condition) else atom
        if about.kind == "group":
            groups = GroupFilterService(self._session, self._project_id)
            return await groups.matching(condition, about.group_type_index, group_property(about.group_type_index))
        if about.kind == "session":
            return sessions_matching(condition, await self._read(SESSIONS, MARGIN))
        persons = await PersonFilterService(self._session, self._project_id).matching(condition, actor)
        return np.union1d(
            persons, await self._erased_passing(atom, passes_without=compile_filter(condition).matches({}))
        )

    async def _erased_passing(self, atom: Node, *, passes_without: bool = False) -> NDArray[np.int64]:
        """Return the erased persons that passed: they are asked no more, but their facts still count."""
        erased = ErasedPersonRepository(self._session, self._project_id)
        return await erased.passing(digest_of(atom), passes_without_properties=passes_without)
