"""Builds the erasure of a project's persons."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.http.dependencies import get_database
from app.operations.maintenance.erasure import ErasureService
from app.operations.maintenance.wiring import build_erasure


async def get_erasure(request: Request, project: ProjectDep) -> ErasureService:
    """Erasure opens short transactions of its own."""
    return build_erasure(get_database(request), request.app.state.materializer, project)


ErasureDep = Annotated[ErasureService, Depends(get_erasure)]
