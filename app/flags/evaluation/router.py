"""The endpoints that evaluate flags for SDKs."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Request, Response

from app.common import limits
from app.common.errors import ValidationFailed
from app.common.ids import read_uuid
from app.flags.evaluation.decoding import (
    MAX_DISTINCT_ID_CHARACTERS,
    FlagsRequest,
    decode_flags_payload,
    decode_flags_request,
)
from app.flags.evaluation.dependencies import evaluation_of
from app.flags.evaluation.responses import JsonDict, ResponseMetadata, decide_body, flags_body
from app.flags.evaluation.rules import Evaluation
from app.flags.evaluation.schemas import (
    config_parameter,
    decide_request,
    decide_response,
    flags_request,
    flags_response,
    version_parameter,
)
from app.people.cookieless.service import CookielessService
from app.people.cookieless.visitors import COOKIELESS, Visitor
from app.sdk.requests import read_query, read_sdk_request, unpack_large, unpack_small
from app.telemetry.logging import request_id

_UNREADABLE_VERSION: Final = 2
_NO_FLAGS: Final = Evaluation()

router = APIRouter(tags=["Flags for SDKs"])


@router.post(
    "/flags/",
    summary="Evaluate flags",
    responses={200: flags_response},
    openapi_extra={
        "requestBody": flags_request,
        "parameters": [version_parameter("1: values by key. 2 and above: records by key.", "2"), config_parameter],
    },
)
async def evaluate_flags(request: Request) -> Response:
    """Evaluate the project's active flags for one person, with the reason for each result.

    Equal identifiers and properties give equal results, here and in local evaluation by SDKs. Properties in the request
    take precedence over stored ones. Without `v` and `config` the response is that of `v=2` with the configuration.
    """
    return await _answer(request, _evaluate)


async def _evaluate(request: Request, flags_query: FlagsRequest) -> Response:
    evaluation = evaluation_of(request)
    project = await evaluation.find_project(flags_query.token, flags_query.project_id)
    result = _NO_FLAGS
    if not flags_query.is_disabled:
        if flags_query.distinct_id is None:
            raise ValidationFailed("Flags require a distinct_id.", code="missing_distinct_id")
        distinct_id = flags_query.distinct_id[:MAX_DISTINCT_ID_CHARACTERS]
        distinct_id = await _identify(request, project.project_id, distinct_id)
        result = await evaluation.evaluate(project, flags_query, distinct_id)
    return _respond_with_flags(request, result, has_flags=bool(project.active.flags))


@router.post(
    "/decide/",
    summary="Evaluate flags, for older SDKs",
    responses={200: decide_response},
    openapi_extra={
        "requestBody": decide_request,
        "parameters": [version_parameter("The version of the response, 1 to 4.", "1")],
    },
)
async def decide_flags(request: Request) -> Response:
    """Return the configuration of the browser SDK, and the project's flags evaluated for one person.

    Versions 1 and 2 list enabled flags only, version 3 all active flags, and version 4 the records of `/flags`. Without
    a token no flags are returned.
    """
    return await _answer(request, _decide)


async def _decide(request: Request, flags_query: FlagsRequest) -> Response:
    evaluation = evaluation_of(request)
    version = _read_version(read_query(request).get("v", "1"))
    if flags_query.token is None:
        return _json(decide_body(version, _NO_FLAGS, _metadata(), has_flags=False, token_is_known=False))
    project = await evaluation.find_project(flags_query.token, flags_query.project_id)
    result = _NO_FLAGS
    if not flags_query.is_disabled:
        if flags_query.distinct_id is None:
            raise ValidationFailed("Decide requires a distinct_id.", code="missing_distinct_id")
        distinct_id = await _identify(request, project.project_id, flags_query.distinct_id)
        result = await evaluation.evaluate(project, flags_query, distinct_id)
    return _json(decide_body(version, result, _metadata(), has_flags=bool(project.active.flags)))


@router.get("/flags/", include_in_schema=False)
async def describe_flags_endpoint(request: Request) -> Response:
    """Respond without flags: only a body can name a person."""
    return _respond_with_flags(request, _NO_FLAGS, has_flags=False, with_config=True)


@router.get("/decide/", include_in_schema=False)
async def describe_decide_endpoint() -> Response:
    """Respond without flags: only a body can name a person."""
    return _json(decide_body(1, _NO_FLAGS, _metadata(), has_flags=False, token_is_known=False))


async def _answer(request: Request, answer: Callable[[Request, FlagsRequest], Awaitable[Response]]) -> Response:
    sdk_request = await read_sdk_request(request, limits.FLAGS_REQUEST_BYTES.value)
    payload = unpack_small(sdk_request, decode_flags_payload)
    if payload is not None:
        return await answer(request, decode_flags_request(payload, sdk_request.form))
    async with unpack_large(request, sdk_request, decode_flags_payload, limits.FLAGS_REQUEST_BYTES) as unpacked:
        return await answer(request, await asyncio.to_thread(decode_flags_request, unpacked.pop(), sdk_request.form))


async def _identify(request: Request, project_id: int, distinct_id: str) -> str:
    """Return the distinct id of the day for a visitor without cookies, as capture does; any other stays as it is."""
    if distinct_id != COOKIELESS:
        return distinct_id
    cookieless: CookielessService = request.app.state.cookieless
    headers, client = request.headers, request.scope.get("client")
    visitor = Visitor(client[0] if client else "", headers.get("user-agent", ""), headers.get("origin", ""))
    return await cookieless.distinct_id(project_id, visitor) or distinct_id


def _respond_with_flags(
    request: Request, evaluation: Evaluation, *, has_flags: bool, with_config: bool = False
) -> Response:
    query = read_query(request)
    stated, config = query.get("v"), query.get("config")
    is_bare = stated is None and config is None
    return _json(
        flags_body(
            2 if is_bare else _read_version(stated or "1"),
            evaluation,
            _metadata(),
            has_flags=has_flags,
            with_config=is_bare or with_config or config == "true",
        )
    )


def _read_version(text: str) -> int:
    """Return the version of the response: 2 for anything but a number, because an old SDK sends `v` twice."""
    try:
        return int(text)
    except ValueError:
        return _UNREADABLE_VERSION


def _metadata() -> ResponseMetadata:
    """Return the time and the id of the response: the request's id in logs if it is a UUID, or a new one."""
    logged = read_uuid(request_id.get())
    return ResponseMetadata(str(logged or uuid4()), time.time_ns() // 1_000_000)


def _json(body: JsonDict) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
