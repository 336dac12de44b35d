"""The documentation as a site at ``/guide/``: the files that ``make docs-site`` made, or how to make them."""

from pathlib import Path
from posixpath import normpath
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from app.common.errors import NotFound

router = APIRouter(include_in_schema=False)

# The theme writes style attributes, draws its icons from data, and searches in a worker.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
_NOT_BUILT: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The guide is not built</title>
</head>
<body>
<h1>The guide is not built</h1>
<p>Run <code>make docs-site</code> in the repository, which writes the site to <code>build/guide</code>, and start the
service again. Where it runs in another folder, set <code>ABACUS_GUIDE_DIRECTORY</code>. The image of Abacus has the
guide. The same pages are in the folder <code>docs</code> of the repository.</p>
</body>
</html>
"""


def guide_files(directory: Path) -> StaticFiles | None:
    """Return what serves the site in the directory; None if there is no site."""
    return StaticFiles(directory=directory, html=True) if (directory / "index.html").is_file() else None


@router.get("/guide/{path:path}")
async def show_guide(request: Request, path: str) -> Response:
    """Return a file of the site. A folder is its page, which needs the slash: its links are relative."""
    files: StaticFiles | None = request.app.state.guide
    if files is None:
        if path:
            raise NotFound
        return HTMLResponse(_NOT_BUILT, headers=_HEADERS)
    try:
        response = await files.get_response(normpath(path), request.scope)
    except HTTPException as error:  # also of a name that no file can have
        raise NotFound from error
    is_page = response.headers.get("content-type", "").startswith("text/html") and not path.endswith(".html/")
    if is_page and not request.scope["path_sent"].endswith("/"):
        return RedirectResponse(f"{request.scope.get('root_path', '')}/guide/{path}", status_code=307)
    response.headers.update(_HEADERS)
    return response
