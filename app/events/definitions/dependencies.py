"""Builds the definitions of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.events.definitions.service import DefinitionService
from app.http.dependencies import get_database


async def get_definitions(request: Request, project: ProjectDep) -> DefinitionService:
    return DefinitionService(get_database(request), project.id, request.app.state.materializer.shared)


DefinitionsDep = Annotated[DefinitionService, Depends(get_definitions)]
