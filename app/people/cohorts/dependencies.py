"""Builds the cohorts of a project."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Path, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep
from app.db.models import Cohort
from app.http.dependencies import LimitedTimeDep, SessionDep, get_database
from app.http.fields import PathId
from app.people.cohorts.repository import CohortRepository
from app.people.cohorts.service import CohortService
from app.people.persons.repository import PersonRepository
from app.people.persons.service import PersonService

CohortId = Annotated[PathId, Path(description="A cohort's id.")]


async def get_cohorts(project: ProjectDep, session: SessionDep) -> CohortService:
    return build_cohorts(session, project.id)


async def get_cohorts_in_a_snapshot(
    request: Request, project: ProjectDep, _time: LimitedTimeDep
) -> AsyncIterator[CohortService]:
    """Cohorts whose members are counted: that streams persons, which needs a transaction."""
    database = get_database(request)
    async with database.aggregation_slots.slot(project.id), database.snapshot() as session:
        yield build_cohorts(session, project.id)


async def get_locked_cohort(cohort_id: CohortId, cohorts: "CohortsDep") -> Cohort:
    """The cohort, locked against other writers until the request ends."""
    return await cohorts.get(cohort_id, for_update=True)


def build_cohorts(session: AsyncSession, project_id: int) -> CohortService:
    return CohortService(CohortRepository(session, project_id), PersonService(PersonRepository(session, project_id)))


CohortsDep = Annotated[CohortService, Depends(get_cohorts)]
CountingCohortsDep = Annotated[CohortService, Depends(get_cohorts_in_a_snapshot, scope="function")]
LockedCohortDep = Annotated[Cohort, Depends(get_locked_cohort)]
