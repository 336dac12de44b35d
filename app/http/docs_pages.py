"""The pages at /docs and /redoc, served from bundled files: browsers load nothing from other hosts."""

from html import escape
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, HTMLResponse

from app.common.errors import NotFound
from app.http.openapi import DOCUMENT

router = APIRouter(include_in_schema=False)

# Both tools insert style sheets at run time; ReDoc runs its search in a worker made from a blob.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src data:; "
    "connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS: Final = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
_FILE_HEADERS: Final = {"Cache-Control": "public, max-age=3600"}
_FILES: Final = frozenset({"swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png"})

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{prefix}/docs/files/favicon.png">
{head}
</head>
<body>
{body}
</body>
</html>
"""
_SWAGGER_HEAD: Final = '<link rel="stylesheet" href="{prefix}/docs/files/swagger-ui.css">'
_SWAGGER_BODY: Final = """<div id="swagger-ui" data-document="{document}"></div>
<script src="{prefix}/docs/files/swagger-ui-bundle.js"></script>
<script src="{prefix}/docs/start.js"></script>"""
_REDOC_BODY: Final = """<redoc spec-url="{document}"></redoc>
<script src="{prefix}/docs/files/redoc.standalone.js"></script>"""
_START: Final = """SwaggerUIBundle({
  url: document.getElementById("swagger-ui").dataset.document,
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: true,
});
"""


@router.get("/docs/")
async def show_swagger_ui(request: Request) -> HTMLResponse:
    return _page(request, head=_SWAGGER_HEAD, body=_SWAGGER_BODY)


@router.get("/redoc/")
async def show_redoc(request: Request) -> HTMLResponse:
    return _page(request, head="", body=_REDOC_BODY)


@router.get("/docs/start.js/")
async def start_swagger_ui() -> Response:
    """Return the start script, which the content security policy does not allow inline."""
    return Response(_START, headers=_FILE_HEADERS, media_type="text/javascript")


@router.get("/docs/files/{name}/")
async def retrieve_documentation_file(name: Annotated[str, InPath()]) -> FileResponse:
    if name not in _FILES:
        raise NotFound
    return FileResponse(_DIRECTORY / name, headers=_FILE_HEADERS)


def _page(request: Request, head: str, body: str) -> HTMLResponse:
    prefix = escape(request.scope.get("root_path", ""))
    named = {"prefix": prefix, "document": f"{prefix}{DOCUMENT}"}
    title = escape(request.app.title)
    page = _PAGE.format(title=title, prefix=prefix, head=head.format(**named), body=body.format(**named))
    return HTMLResponse(page, headers=_PAGE_HEADERS)


def _directory() -> Path:
    with as_file(files("fastapi_offline") / "static") as directory:
        return directory


_DIRECTORY: Final = _directory()
