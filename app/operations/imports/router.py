"""The endpoints of imports."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.params import Depends
from fastapi.responses import FileResponse

from app.accounts.auth.dependencies import get_project, require_scope
from app.accounts.idempotency.dependencies import REUSED
from app.common import limits
from app.events.imports.formats import Format
from app.http.pagination import PaginationDep
from app.http.query_params import read_text
from app.http.request_body import stream_bytes
from app.http.routing import answer_other_methods
from app.http.schemas import Page
from app.operations.imports.dependencies import ImportId, ImportsDep, KeepDep
from app.operations.imports.schemas import ImportRead, ImportWithEvents

router = APIRouter(
    prefix="/api/projects/{project_id}/imports",
    tags=["Events and persons"],
    dependencies=[require_scope("event")],
)

_LINES: Final = "application/x-ndjson"
_FILE: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/", summary="List imports")
async def list_imports(imports: ImportsDep, pagination: PaginationDep) -> Page[ImportRead]:
    """Return the project's imports of uploaded files, newest first."""
    count, rows = await imports.page(pagination.limit, pagination.offset)
    return pagination.page(count, [ImportRead.of(one) for one in rows])


@router.post("/", status_code=201, summary="Import a file", openapi_extra=_FILE, responses=REUSED)
async def create_import(
    request: Request,
    imports: ImportsDep,
    keep: KeepDep,
    name: Annotated[str, Query(description="The file's name, by which the import is shown.")] = "upload",
    source: Annotated[
        Literal["auto"] | Format, Query(description="Where the file comes from; `auto` tells it from the first lines.")
    ] = "auto",
    time_offset: Annotated[
        int, Query(ge=-86_400, le=86_400, description="Seconds that are added to times of Mixpanel.")
    ] = 0,
) -> ImportRead:
    """Import the events or persons of a file, which is the body of the request.

    It may be compressed in any of the ways that `abacus import` reads. The import goes on in the background, also after
    a restart, and nothing is stored twice. A project has one import at a time. Import persons before events. For an
    `Idempotency-Key` two requests are the same if their addresses and the sizes of their files are; a key without a
    `Content-Length` is refused.
    """
    pieces = stream_bytes(request, limits.UPLOADED_FILE_BYTES.value)
    return ImportRead.of(await imports.upload(pieces, read_text(name) or "upload", source, time_offset, keep))


@router.get("/{import_id}/", summary="Retrieve an import")
async def retrieve_import(import_id: ImportId, imports: ImportsDep) -> ImportWithEvents:
    """Return how far an import is, and its events by name and day."""
    return ImportWithEvents.of(await imports.get(import_id))


@router.get(
    "/{import_id}/refused/",
    summary="List refused lines",
    response_class=Response,
    responses={200: {"content": {_LINES: {"schema": {"type": "string"}}}}},
)
async def list_refused_lines(import_id: ImportId, imports: ImportsDep) -> Response:
    """Return the lines of a file that were refused, each with its number and the reason, as lines of JSON."""
    path = await imports.refused_lines(import_id)
    return Response(b"", media_type=_LINES) if path is None else FileResponse(path, media_type=_LINES)


@router.delete("/{import_id}/", status_code=204, summary="Cancel an import")
async def cancel_import(import_id: ImportId, imports: ImportsDep) -> Response:
    """Cancel an import that is running: the events that it stored stay.

    One that is not running is forgotten, with its refused lines.
    """
    await imports.cancel(import_id)
    return Response(status_code=204)


answer_other_methods(router, Depends(get_project))
