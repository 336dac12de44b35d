"""Erased persons in the database."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.advisory_locks import ProjectLock, lock_project
from app.db.bulk import chunks, insert_rows
from app.db.models import (
    Cohort,
    CohortDistinctId,
    ErasedPerson,
    ErasedPersonAnswer,
    HashKeyOverride,
    ImportedPerson,
    Person,
    PersonDistinctId,
)

_ANSWER_COLUMNS = ("person_id", "digest", "project_id", "passes")


class ErasedPersonRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def lock(self) -> None:
        """Wait until no transaction stores events or changes identities, and keep others waiting."""
        # In the order in which transactions that store events take them.
        await lock_project(self._session, ProjectLock.ERASURE, self._project_id)
        await lock_project(self._session, ProjectLock.IDENTITIES, self._project_id)

    async def erase(self, person_id: int, answers: Mapping[str, bool], *, has_events: bool) -> None:
        """Remove a person, and keep the answers to conditions by digest. Call ``lock`` first."""
        await self._remove_lists(person_id)
        for statement in (
            delete(PersonDistinctId).where(
                PersonDistinctId.project_id == self._project_id, PersonDistinctId.person_id == person_id
            ),
            delete(HashKeyOverride).where(
                HashKeyOverride.project_id == self._project_id, HashKeyOverride.person_id == person_id
            ),
            delete(Person).where(Person.project_id == self._project_id, Person.id == person_id),
        ):
            await self._session.execute(statement, execution_options={"synchronize_session": False})
        self._session.add(ErasedPerson(person_id=person_id, project_id=self._project_id, has_events=has_events))
        await self._session.flush()
        rows = [(person_id, digest, self._project_id, passes) for digest, passes in answers.items()]
        await insert_rows(self._session, ErasedPersonAnswer, _ANSWER_COLUMNS, rows)

    async def _remove_lists(self, person_id: int) -> None:
        """Remove the person's distinct ids from static cohorts, deleted ones too, and from what imports remember."""
        cohorts = select(Cohort.id).where(Cohort.project_id == self._project_id)
        names = select(PersonDistinctId.distinct_id).where(
            PersonDistinctId.project_id == self._project_id, PersonDistinctId.person_id == person_id
        )
        await self._session.execute(
            delete(CohortDistinctId).where(
                CohortDistinctId.cohort_id.in_(cohorts), CohortDistinctId.distinct_id.in_(names)
            ),
            execution_options={"synchronize_session": False},
        )
        await self._session.execute(
            delete(ImportedPerson).where(
                ImportedPerson.project_id == self._project_id, ImportedPerson.distinct_id.in_(names)
            ),
            execution_options={"synchronize_session": False},
        )

    async def count(self) -> int:
        """Return how many persons were erased so far."""
        query = select(func.count()).where(ErasedPerson.project_id == self._project_id)
        return await self._session.scalar(query) or 0

    async def with_events(self) -> Sequence[int]:
        """Return the erased persons whose events are still to be removed."""
        found = await self._session.scalars(
            select(ErasedPerson.person_id).where(
                ErasedPerson.project_id == self._project_id, ErasedPerson.has_events.is_(True)
            )
        )
        return found.all()

    async def finish(self, person_ids: Sequence[int]) -> None:
        """Record that the events of erased persons are removed."""
        for chunk in chunks(person_ids):
            await self._session.execute(
                update(ErasedPerson)
                .where(ErasedPerson.project_id == self._project_id, ErasedPerson.person_id.in_(chunk))
                .values(has_events=False)
                .execution_options(synchronize_session=False)
            )

    async def passing(self, digest: str, *, passes_without_properties: bool) -> NDArray[np.int64]:
        """Return the erased persons that passed a condition.

        One that was not asked, because the condition is newer than the erasure, is a person without properties.
        """
        rows = await self._session.execute(
            select(ErasedPersonAnswer.person_id, ErasedPersonAnswer.passes).where(
                ErasedPersonAnswer.project_id == self._project_id, ErasedPersonAnswer.digest == digest
            )
        )
        answers: dict[int, bool] = dict(rows.all())
        passing = {person_id for person_id, passes in answers.items() if passes}
        if passes_without_properties:
            erased = await self._session.scalars(
                select(ErasedPerson.person_id).where(ErasedPerson.project_id == self._project_id)
            )
            passing |= set(erased) - answers.keys()
        return np.fromiter(passing, dtype=np.int64, count=len(passing))
