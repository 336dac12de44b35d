"""The page of a project's imports, with a form to upload a file. It is not part of the API or its OpenAPI document."""

from typing import Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.common import limits
from app.http.pagination import PaginationDep
from app.http.query_params import read_text
from app.http.request_body import stream_bytes
from app.http.uploaded_forms import UploadedFile
from app.operations.imports.dependencies import PageImportsDep
from app.operations.imports.schemas import ImportRead
from app.pages.credentials import PREFIX
from app.pages.dependencies import VisitDep
from app.pages.routing import PageRoute, link_from, show

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)

_FORM_BYTES: Final = 64 * 1024  # of what is around the file


@router.get("/{project_id}/imports/")
async def show_imports(
    request: Request, visit: VisitDep, imports: PageImportsDep, pagination: PaginationDep
) -> HTMLResponse:
    count, rows = await imports.page(pagination.limit, pagination.offset)
    return await show(
        request,
        "imports.html",
        visit=visit,
        timezone=ZoneInfo(visit.project.timezone),
        imports=[ImportRead.of(one) for one in rows],
        may_import=visit.access.covers(["event:write"]),
        count=count,
    )


@router.post("/{project_id}/imports/upload/")
async def upload_file(request: Request, visit: VisitDep, imports: PageImportsDep) -> Response:
    """Import the file of a form, and show the imports."""
    visit.access.require("event:write")
    pieces = stream_bytes(request, limits.UPLOADED_FILE_BYTES.value + _FORM_BYTES)
    file = await UploadedFile.find(pieces, request.headers.get("content-type", ""))
    await imports.upload(file.content(), read_text(file.name) or "upload", "auto", 0)
    return RedirectResponse(link_from(request)("show_imports", project_id=visit.project.id), status_code=303)


@router.post("/{project_id}/imports/{import_id}/cancel/")
async def cancel_import_by_form(request: Request, visit: VisitDep, imports: PageImportsDep, import_id: str) -> Response:
    """Cancel an import that is running; one that is not is forgotten."""
    visit.access.require("event:write")
    await imports.cancel(import_id)
    return RedirectResponse(link_from(request)("show_imports", project_id=visit.project.id), status_code=303)
