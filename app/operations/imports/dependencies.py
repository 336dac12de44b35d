"""Builds the imports of a project."""

from typing import Annotated

from fastapi import Depends, Path, Request

from app.accounts.auth.dependencies import ProjectDep
from app.http.dependencies import get_database
from app.http.fields import PathId
from app.operations.imports.service import FileImportService
from app.pages.dependencies import VisitDep

ImportId = Annotated[PathId, Path(description="An import's id.")]


def build_imports(request: Request, project_id: int) -> FileImportService:
    return FileImportService(get_database(request), request.app.state.imports, project_id)


async def get_imports(request: Request, project: ProjectDep) -> FileImportService:
    return build_imports(request, project.id)


async def get_page_imports(request: Request, visit: VisitDep) -> FileImportService:
    """The imports of a project, for a visitor who may read events."""
    visit.access.require("event:read")
    return build_imports(request, visit.project.id)


ImportsDep = Annotated[FileImportService, Depends(get_imports)]
PageImportsDep = Annotated[FileImportService, Depends(get_page_imports)]
