"""Builds the directory of a project's persons."""

from typing import Annotated

from fastapi import Depends, Path
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep
from app.activity_log.dependencies import build_activity_log
from app.http.dependencies import SessionDep
from app.people.cohorts.dependencies import build_cohorts
from app.people.directory.repository import DirectoryRepository
from app.people.directory.service import PersonDirectory
from app.people.persons.repository import PersonRepository

PersonId = Annotated[str, Path(description="A person's id or UUID.", examples=["1"])]


async def get_directory(project: ProjectDep, session: SessionDep) -> PersonDirectory:
    return build_directory(session, project.id)


def build_directory(session: AsyncSession, project_id: int) -> PersonDirectory:
    return PersonDirectory(
        DirectoryRepository(session, project_id),
        PersonRepository(session, project_id),
        build_cohorts(session, project_id),
        build_activity_log(session, project_id),
    )


async def get_known_person(person_id: PersonId, directory: "DirectoryDep") -> str:
    """The reference of a person that exists: this is checked before the body."""
    await directory.get(person_id)
    return person_id


DirectoryDep = Annotated[PersonDirectory, Depends(get_directory)]
KnownPersonDep = Annotated[str, Depends(get_known_person)]
