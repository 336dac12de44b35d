"""The endpoints of OFREP 0.3, which providers of OpenFeature call."""

import datetime as dt
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from app.common import limits
from app.events.capture.decoding.requests import Envelope, decode_batch
from app.events.capture.decoding.visitors import Sender
from app.events.capture.dependencies import capture_of
from app.events.ofrep import responses
from app.events.ofrep.decoding import Refused, decode_evaluation
from app.events.ofrep.exposures import RecentExposures
from app.events.ofrep.schemas import bulk_answers, bulk_request, single_answers, single_request, track_parameters
from app.flags.evaluation.active_flags import ProjectFlags
from app.flags.evaluation.decoding import MAX_DISTINCT_ID_CHARACTERS, FlagsRequest
from app.flags.evaluation.dependencies import evaluation_of
from app.http.conditional_requests import entity_tag, is_known
from app.http.request_body import read_bytes
from app.people.groups.decoding import MAX_CHARACTERS
from app.sdk.requests import read_query, run_in_thread_if_large

router = APIRouter(tags=["Flags for SDKs"])

_CODES = {"FLAG_NOT_FOUND": 404}
_BEARER = "bearer "


@router.post(
    "/ofrep/v1/evaluate/flags/",
    summary="Evaluate all flags, for OpenFeature",
    responses=bulk_answers,
    openapi_extra={"requestBody": bulk_request},
)
async def evaluate_flags_for_openfeature(request: Request) -> Response:
    """Evaluate the project's flags for one person, by the OpenFeature Remote Evaluation Protocol (OFREP).

    The project's public token is sent as `Authorization: Bearer` or `X-API-Key`. With `If-None-Match` the answer is 304
    while nothing differs. It reports no exposure, because not every flag is shown.
    """
    try:
        project = await _project(request)
        if _wants_tracking(request):
            raise Refused("GENERAL", "Only the evaluation of a single flag can report its exposure.")
        evaluation = await evaluation_of(request).evaluate(project, *await _decode(request))
    except Refused as refusal:
        return _refuse(refusal)
    body = msgspec.json.encode(responses.bulk(evaluation, list(project.active.inactive.items())))
    headers = {"ETag": entity_tag(body)}
    known = request.headers.get("if-none-match")
    if known is not None and is_known(known, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@router.post(
    "/ofrep/v1/evaluate/flags/{key}/",
    summary="Evaluate a flag, for OpenFeature",
    responses=single_answers,
    openapi_extra={"requestBody": single_request, "parameters": track_parameters},
)
async def evaluate_flag_for_openfeature(request: Request) -> Response:
    """Evaluate one flag for one person, by the OpenFeature Remote Evaluation Protocol (OFREP).

    The protocol reports no exposure. With `?track=true`, or the header `X-Abacus-Track: true`, which providers can be
    told to send, the evaluation is stored as `$feature_flag_called`, once for each value that a person gets.
    """
    key = request.path_params["key"]
    try:
        project = await _project(request)
        query, distinct_id = await _decode(request, key)
        inactive = next((flag_id for flag_id, name in project.active.inactive.items() if name == key), None)
        if inactive is not None:
            return _json(responses.disabled(key, inactive))
        if all(flag.key != key for flag in project.active.flags):
            raise Refused("FLAG_NOT_FOUND", "There is no flag with this key.")
        evaluation = await evaluation_of(request).evaluate(project, query, distinct_id)
        if evaluation.results and _wants_tracking(request):
            await _track(request, project, query, distinct_id, value=evaluation.results[0].value)
    except Refused as refusal:
        return _refuse(refusal, key)
    return _json(responses.single(evaluation), 200 if evaluation.results else 500)


def _token(request: Request) -> str:
    """Return the token that the headers of a request hold; empty without one."""
    authorization = request.headers.get("authorization", "")
    bearer = authorization[len(_BEARER) :].strip() if authorization.lower().startswith(_BEARER) else ""
    return bearer or request.headers.get("x-api-key", "").strip()


async def _project(request: Request) -> ProjectFlags:
    return await evaluation_of(request).find_project(_token(request) or None)


async def _decode(request: Request, key: str | None = None) -> tuple[FlagsRequest, str]:
    body = await read_bytes(request, limits.FLAGS_REQUEST_BYTES.value)
    query = await run_in_thread_if_large(len(body), decode_evaluation, body, key)
    return query, (query.distinct_id or "")[:MAX_DISTINCT_ID_CHARACTERS]


def _wants_tracking(request: Request) -> bool:
    stated = read_query(request).get("track", request.headers.get("x-abacus-track", "false")).lower()
    if stated not in {"true", "false"}:
        raise Refused("GENERAL", "`track` is true or false.")
    return stated == "true"


async def _track(
    request: Request, project: ProjectFlags, query: FlagsRequest, distinct_id: str, *, value: bool | str
) -> None:
    """Store the event by which SDKs report that they evaluated a flag, unless it was stored lately."""
    [key] = query.flag_keys or ()
    recent: RecentExposures = request.app.state.recent_exposures
    sent = {name: query.groups.get(name, "")[:MAX_CHARACTERS] for name in project.group_types.values()}
    exposure = (project.project_id, distinct_id, key, value, frozenset(sent.items()))
    if recent.holds(exposure):
        return
    properties: dict[str, Any] = {"$feature_flag": key, "$feature_flag_response": value, "$lib": "ofrep"}
    if query.groups:
        properties["$groups"] = query.groups
    event = {"event": "$feature_flag_called", "distinct_id": distinct_id, "properties": properties}
    received_at, envelope = dt.datetime.now(dt.UTC), Envelope(tokens=(_token(request),), sender=Sender())
    await capture_of(request).store(decode_batch(msgspec.json.encode(event), received_at, envelope))
    recent.add(exposure)


def _refuse(refusal: Refused, key: str | None = None) -> Response:
    return _json(responses.failure(refusal.code, refusal.details, key), _CODES.get(refusal.code, 400))


def _json(body: responses.JsonDict, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
