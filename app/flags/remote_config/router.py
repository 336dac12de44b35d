"""The endpoints that the browser SDK requests at its start."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from app.common.errors import AuthenticationFailed, NotFound
from app.flags.evaluation.active_flags import ProjectFlags
from app.flags.evaluation.dependencies import evaluation_of
from app.flags.remote_config.dependencies import ScriptsDep
from app.flags.remote_config.documents import config_document, config_script
from app.http.openapi import error_responses
from app.http.unserved_addresses import empty_script, is_optional_script

router = APIRouter(tags=["Flags for SDKs"])

_SCRIPT: Final = "application/javascript"
_CACHE_ONE_MINUTE: Final = {"Cache-Control": "public, max-age=60"}
_CACHE_ONE_HOUR: Final = {"Cache-Control": "public, max-age=3600"}
_MEDIA_TYPES: Final = {".js": _SCRIPT, ".map": "application/json", ".css": "text/css"}

Token = Annotated[str, Path(description="The project's public token.", examples=["phc_3xAmPl3"])]
_CONFIG: Final[dict[int | str, dict[str, Any]]] = {  # pieces of OpenAPI
    **error_responses(404),
    200: {
        "description": "The configuration.",
        "content": {"application/json": {"example": config_document("phc_3xAmPl3", has_flags=True)}},
    },
}
_CONFIG_SCRIPT: Final[dict[int | str, dict[str, Any]]] = {
    **error_responses(404),
    200: {"description": "The script.", "content": {_SCRIPT: {"schema": {"type": "string"}}}},
}


@router.get("/array/{token}/config/", summary="Get the configuration of the browser SDK", responses=_CONFIG)
async def retrieve_remote_config(token: Token, request: Request) -> Response:
    """Return the configuration of the browser SDK: compressed events, and no features beyond events and flags."""
    project = await _find(request, token)
    return JSONResponse(config_document(token, has_flags=bool(project.active.flags)), headers=_CACHE_ONE_MINUTE)


@router.get(
    "/array/{token}/config.js/",
    summary="Get the configuration as a script",
    response_class=Response,
    responses=_CONFIG_SCRIPT,
)
async def retrieve_remote_config_script(token: Token, request: Request) -> Response:
    """Return a script that sets `window._POSTHOG_REMOTE_CONFIG[token]`."""
    project = await _find(request, token)
    return Response(
        config_script(token, has_flags=bool(project.active.flags)), headers=_CACHE_ONE_MINUTE, media_type=_SCRIPT
    )


@router.get("/array/{token}/array.js/", include_in_schema=False)
async def retrieve_array_script(token: Token, request: Request, scripts: ScriptsDep) -> Response:
    """Return the browser SDK, preceded by its configuration."""
    project = await _find(request, token)
    file = await asyncio.to_thread(scripts.find, "array.js")
    if file is None:
        raise NotFound("This server has no copy of the browser SDK.")
    config = config_script(token, has_flags=bool(project.active.flags))
    sdk = await asyncio.to_thread(file.read_bytes)
    return Response(config.encode() + sdk, headers=_CACHE_ONE_MINUTE, media_type=_SCRIPT)


@router.get("/static/{path:path}", include_in_schema=False)
async def retrieve_script(path: str, scripts: ScriptsDep) -> Response:
    """Return a file of the browser SDK, if the operator provides one; an empty script for other parts of the SDK."""
    file = await asyncio.to_thread(scripts.find, path.removesuffix("/"))
    if file is None and is_optional_script(path):
        return empty_script()
    if file is None:
        raise NotFound("This server has no copy of the browser SDK.")
    return FileResponse(file, headers=_CACHE_ONE_HOUR, media_type=_MEDIA_TYPES[file.suffix])


@router.get("/api/surveys/", include_in_schema=False)
async def list_surveys() -> JSONResponse:
    """Return an empty list, because the browser SDK requests it."""
    return JSONResponse({"surveys": []})


@router.get("/api/web_experiments/", include_in_schema=False)
async def list_web_experiments() -> JSONResponse:
    """Return an empty list, because the browser SDK requests it."""
    return JSONResponse({"experiments": []})


@router.get("/api/early_access_features/", include_in_schema=False)
async def list_early_access_features() -> JSONResponse:
    """Return an empty list, because the browser SDK requests it."""
    return JSONResponse({"earlyAccessFeatures": []})


async def _find(request: Request, token: str) -> ProjectFlags:
    try:
        return await evaluation_of(request).find_project(token)
    except AuthenticationFailed as error:
        raise NotFound from error
