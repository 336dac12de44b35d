"""The endpoints to which SDKs send events."""

import datetime as dt
from typing import Any

from fastapi import APIRouter, Request, Response

from app.common import limits
from app.events.capture.decoding.requests import Envelope, decode_batch
from app.events.capture.decoding.visitors import Sender
from app.events.capture.dependencies import capture_of
from app.events.capture.schemas import CaptureRead, capture_body
from app.sdk.payloads import SdkRequest
from app.sdk.requests import read_sdk_request, run_in_thread_if_large, unpack_large, unpack_small

# Paths of the endpoint in older and newer SDKs; on /engage the event is also `$identify`.
ALIASES = ("/e/", "/i/v0/e/", "/track/", "/engage/", "/i/v0/ai/batch/")

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": CaptureRead},
    204: {"description": "Committed; the response to `?beacon=1`."},
}
_COMMITTED = CaptureRead(status=1).model_dump_json().encode()

router = APIRouter(tags=["Capture"])


@router.post(
    "/batch/",
    summary="Send a batch of events",
    operation_id="capture_batch",
    openapi_extra=capture_body,
    responses=_ANSWERS,
)
@router.post("/capture/", summary="Send events", openapi_extra=capture_body, responses=_ANSWERS)
async def capture_events(request: Request) -> Response:
    """Store events and respond when they are committed.

    The body names the project by its public token (`api_key` or `token`) and holds one event, a list of events, or a
    `batch` of them. An event whose `uuid` is known is not stored twice, so a request can safely be repeated. One
    invalid event refuses the whole request; `attr` names the event and the field, as in `batch[1].distinct_id`.

    The body may also be gzip, base64 or lz64, or the field `data` of a form; with GET it is the parameter `data`. The
    paths `/e/`, `/i/v0/e/`, `/track/` and `/engage/` of older and newer SDKs do the same. With `?beacon=1` the response
    has no body.

    Events get the client's address as `$ip` unless they have one, the request has `?ip=0`, or the project has
    `anonymize_ips`. Properties of origin are also stored on the person: the first value of each as `$initial_...`
    (`$initial_referrer`, `$initial_utm_source` and so on), and the latest campaign (`utm_source` and so on).
    """
    received_at = dt.datetime.now(dt.UTC)
    sdk_request = await read_sdk_request(request, limits.REQUEST_BYTES.value)
    payload = unpack_small(sdk_request)
    if payload is not None:
        await _store(request, sdk_request, payload, received_at)
    else:
        async with unpack_large(request, sdk_request) as unpacked:
            await _store(request, sdk_request, unpacked.pop(), received_at)
    if sdk_request.query.get("beacon") == "1":
        return Response(status_code=204)
    return _acknowledge()


async def _store(request: Request, sdk_request: SdkRequest, payload: bytes, received_at: dt.datetime) -> None:
    envelope = _read_envelope(sdk_request, request.scope["path"])
    batch = await run_in_thread_if_large(len(payload), decode_batch, payload, received_at, envelope)
    del payload  # which the events of a large request no longer need while they are stored
    await capture_of(request).store(batch)


async def drop_recording() -> Response:
    """Acknowledge a part of a session recording and discard it; otherwise clients would send it again and again."""
    return _acknowledge()


def _acknowledge() -> Response:
    """Respond with a prepared body: validating and encoding a model would take as long as decoding an event."""
    return Response(_COMMITTED, media_type="application/json")


for path in ("/batch/", "/capture/"):
    router.add_api_route(path, capture_events, methods=["GET"], include_in_schema=False)
for path in ALIASES:
    router.add_api_route(path, capture_events, methods=["GET", "POST"], include_in_schema=False)
router.add_api_route("/s/", drop_recording, methods=["POST"], include_in_schema=False)


def _read_envelope(sdk_request: SdkRequest, path: str) -> Envelope:
    query, form = sdk_request.query, sdk_request.form
    in_query = (query.get("token", ""), query.get("api_key", "")) if sdk_request.method == "GET" else ()
    return Envelope(
        tokens=(*in_query, form.get("api_key", ""), form.get("token", "")),
        query_sent_at=query.get("_", ""),
        form_sent_at=form.get("sent_at", ""),
        project_id=form.get("project_id", ""),
        sender=Sender(
            address=sdk_request.address if query.get("ip") != "0" else None,
            peer=sdk_request.address or "",
            user_agent=sdk_request.user_agent,
            host=sdk_request.origin,
        ),
        event_name="$identify" if path.removesuffix("/").endswith("/engage") else None,
    )
