"""The page at ``/``: what this is, and where to go on."""

from html import escape
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

router = APIRouter(include_in_schema=False)

_WHAT: Final = "An experimentation service: feature flags, events, and what experiments with them show."
# Name in JSON, address below the prefix, and what is there.
_LINKS: Final = (
    ("experiments", "/experiments", "Experiments and their results, for people with a key"),
    ("guide", "/guide/", "Tutorials, how-to guides, reference and explanations"),
    ("documentation", "/docs", "The API, with every field and a place to try it"),
    ("reference", "/redoc", "The API as one long page"),
    ("openapi", "/openapi.json", "The API for generators of clients"),
    ("health", "/_health", "Whether the service and its database answer"),
)
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{what} Version {version}.</p>
<ul>
{links}
</ul>
</main>
</body>
</html>
"""


@router.get("/")
async def show_front_page(request: Request) -> Response:
    """Answer browsers with a page, and all others with JSON."""
    prefix: str = request.scope.get("root_path", "")
    title, version = request.app.title, request.app.version
    vary = {"Vary": "Accept"}
    if "text/html" not in request.headers.get("accept", ""):
        addresses = {name: f"{prefix}{path}" for name, path, _ in _LINKS}
        return JSONResponse({"name": title, "version": version, "description": _WHAT, "links": addresses}, headers=vary)
    links = "\n".join(f'<li><a href="{escape(prefix + path)}">{path}</a>: {what}</li>' for _, path, what in _LINKS)
    page = _PAGE.format(title=escape(title), what=_WHAT, version=escape(version), links=links)
    return HTMLResponse(page, headers={**vary, "Content-Security-Policy": _POLICY})
