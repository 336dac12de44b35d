"""Builds the flag definitions of a project, which is named by path or by token."""

from typing import Annotated

from fastapi import Depends, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep, ProjectId, get_access, get_project
from app.accounts.projects.dependencies import get_project_by_token
from app.accounts.projects.service import CURRENT, ProjectService
from app.db.models import Project
from app.flags.dependencies import build_flags
from app.flags.evaluation.dependencies import evaluated_cohorts, evaluated_groups
from app.flags.local_evaluation.service import DefinitionService
from app.http.dependencies import SessionDep
from app.http.query_params import read_text


async def get_definitions_by_id_or_token(
    request: Request,
    project_id: ProjectId,
    session: SessionDep,
    token: Annotated[
        str | None,
        Query(description="The public token of the project that `@current` means.", examples=["phc_3xAmPl3"]),
    ] = None,
) -> DefinitionService:
    access = await get_access(request)
    token = read_text(token) if project_id == CURRENT else None
    if token:
        project = await ProjectService(session, access.user).with_token(token)
    else:
        project = await get_project(request, project_id)
    return build_definitions(session, project.id)


async def get_definitions(project: ProjectDep, session: SessionDep) -> DefinitionService:
    return build_definitions(session, project.id)


async def get_definitions_by_token(
    project: Annotated[Project, Depends(get_project_by_token)], session: SessionDep
) -> DefinitionService:
    return build_definitions(session, project.id)


def build_definitions(session: AsyncSession, project_id: int) -> DefinitionService:
    return DefinitionService(
        build_flags(session, project_id), evaluated_groups(session, project_id), evaluated_cohorts(session, project_id)
    )


DefinitionsDep = Annotated[DefinitionService, Depends(get_definitions)]
DefinitionsByIdOrTokenDep = Annotated[DefinitionService, Depends(get_definitions_by_id_or_token)]
DefinitionsByTokenDep = Annotated[DefinitionService, Depends(get_definitions_by_token)]
