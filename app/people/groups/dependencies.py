"""Builds the groups of a project."""

from typing import Annotated

from fastapi import Depends

from app.accounts.auth.dependencies import ProjectDep
from app.http.dependencies import SessionDep
from app.people.groups.repository import GroupRepository
from app.people.groups.service import GroupService


async def get_groups(project: ProjectDep, session: SessionDep) -> GroupService:
    return GroupService(GroupRepository(session, project.id))


GroupsDep = Annotated[GroupService, Depends(get_groups)]
