"""Builds the persons of a project."""

from typing import Annotated

from fastapi import Depends

from app.accounts.auth.dependencies import ProjectDep
from app.http.dependencies import SessionDep
from app.people.persons.repository import PersonRepository
from app.people.persons.service import PersonService


async def get_persons(project: ProjectDep, session: SessionDep) -> PersonService:
    return PersonService(PersonRepository(session, project.id))


PersonsDep = Annotated[PersonService, Depends(get_persons)]
