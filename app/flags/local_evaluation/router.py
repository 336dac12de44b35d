"""The endpoints from which server-side SDKs get flag definitions for local evaluation."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.params import Depends
from fastapi.responses import JSONResponse

from app.accounts.auth.dependencies import get_user, require_scope
from app.accounts.auth.rate_limits import LOCAL_EVALUATION
from app.flags.local_evaluation.dependencies import DefinitionsByIdOrTokenDep, DefinitionsByTokenDep, DefinitionsDep
from app.flags.local_evaluation.evaluators import is_compared
from app.flags.local_evaluation.schemas import FlagDefinitionsRead, FlagPayload
from app.flags.local_evaluation.service import DefinitionService
from app.http.conditional_requests import entity_tag, is_known
from app.http.routing import answer_other_methods
from app.http.strictness import OF_SDKS

router = APIRouter(tags=["Flags for SDKs"], dependencies=[require_scope("feature_flag", LOCAL_EVALUATION), OF_SDKS])

_ANSWERS: dict[int | str, dict[str, Any]] = {  # pieces of OpenAPI
    200: {
        "model": FlagDefinitionsRead,
        "headers": {"ETag": {"description": "Identifies these definitions.", "schema": {"type": "string"}}},
    },
    304: {"description": "The definitions are unchanged: `If-None-Match` holds their `ETag`."},
}
SendCohorts = Annotated[
    str | None,
    Query(description="If present, with any value: keep cohorts in the conditions, and add their definitions."),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description="An `ETag`; the response is 304 if the definitions still have it."),
]


@router.get("/flags/definitions/", summary="Get flags for local evaluation", responses=_ANSWERS)
async def retrieve_flag_definitions(
    request: Request,
    definitions: DefinitionsByTokenDep,
    send_cohorts: SendCohorts = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return the project's flags for an SDK that evaluates them locally.

    `token` is the project's public token; without it the project is the caller's current one. Local evaluation of these
    definitions gives the same values as `/flags`. `/api/feature_flag/local_evaluation/` is the older address.
    """
    return await _answer(request, definitions, send_cohorts, if_none_match)


router.add_api_route(
    "/api/feature_flag/local_evaluation/", retrieve_flag_definitions, methods=["GET"], include_in_schema=False
)


@router.get("/api/feature_flag/", include_in_schema=False)
async def list_simple_flags(definitions: DefinitionsByTokenDep) -> Response:
    """Return the project's flags to SDKs of early 2022."""
    page = await definitions.simple_flags()
    return Response(page.model_dump_json(by_alias=True), media_type="application/json")


@router.get(
    "/api/projects/{project_id}/feature_flags/local_evaluation/",
    summary="Get a project's flags for local evaluation",
    responses=_ANSWERS,
)
async def retrieve_project_flag_definitions(
    request: Request,
    definitions: DefinitionsDep,
    send_cohorts: SendCohorts = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return the project's flags for an SDK that evaluates them locally."""
    return await _answer(request, definitions, send_cohorts, if_none_match)


@router.get(
    "/api/projects/{project_id}/feature_flags/{key}/remote_config/",
    summary="Get the payload of a flag",
    responses={200: {"model": FlagPayload}},
)
async def retrieve_flag_payload(
    key: Annotated[str, Path(description="The flag's key.", examples=["checkout"])],
    definitions: DefinitionsByIdOrTokenDep,
) -> Response:
    """Return the payload of a flag without variants, as JSON text; null while the flag is inactive.

    Server-side SDKs request it under `@current`, with the project's public token as `token`.
    """
    return JSONResponse(await definitions.payload(key))


async def _answer(
    request: Request, definitions: DefinitionService, send_cohorts: str | None, if_none_match: str | None
) -> Response:
    found = await definitions.read(
        with_cohorts=send_cohorts is not None, is_compared=is_compared(request.headers.get("user-agent"))
    )
    body = found.model_dump_json().encode()
    headers = {"ETag": entity_tag(body), "Vary": "User-Agent"}
    if if_none_match is not None and is_known(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


answer_other_methods(router, Depends(get_user))
