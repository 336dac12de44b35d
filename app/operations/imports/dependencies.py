"""Builds the imports of a project."""

from typing import Annotated, Final

from fastapi import Depends, Path, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep, UserDep
from app.accounts.idempotency.dependencies import IdempotencyKey, build_claim
from app.accounts.idempotency.service import HEADER, check_key
from app.common.errors import ValidationFailed
from app.db.models import FileImport
from app.http.dependencies import get_database
from app.http.fields import PathId
from app.operations.imports.schemas import ImportRead
from app.operations.imports.service import FileImportService, Keep, keep_nothing
from app.pages.dependencies import VisitDep

_NEEDS_LENGTH: Final = (
    "An import with an Idempotency-Key needs a Content-Length: by it another file is told from this one."
)

ImportId = Annotated[PathId, Path(description="An import's id.")]


def build_imports(request: Request, project_id: int) -> FileImportService:
    return FileImportService(get_database(request), request.app.state.imports, project_id)


async def get_imports(request: Request, project: ProjectDep) -> FileImportService:
    return build_imports(request, project.id)


async def get_keep(
    request: Request, project: ProjectDep, user: UserDep, idempotency_key: IdempotencyKey = None
) -> Keep:
    """What keeps the answer to an upload with an `Idempotency-Key`, which is looked up before the file is read."""
    if idempotency_key is None:
        return keep_nothing
    check_key(idempotency_key)
    key, size = idempotency_key, request.headers.get("content-length", "").encode()
    if not size:  # the file is told from another one before it is read
        raise ValidationFailed(_NEEDS_LENGTH, attr=HEADER)
    async with get_database(request).read() as session:
        await build_claim(session, project.id, user.id, key, request, size).look()

    async def keep(session: AsyncSession, one: FileImport) -> None:
        claim = build_claim(session, project.id, user.id, key, request, size)
        await claim.make()
        await claim.keep(201, ImportRead.of(one).model_dump_json().encode(), None)

    return keep


async def get_page_imports(request: Request, visit: VisitDep) -> FileImportService:
    """The imports of a project, for a visitor who may read events."""
    visit.access.require("event:read")
    return build_imports(request, visit.project.id)


ImportsDep = Annotated[FileImportService, Depends(get_imports)]
KeepDep = Annotated[Keep, Depends(get_keep)]
PageImportsDep = Annotated[FileImportService, Depends(get_page_imports)]
