"""Where SDKs send events."""

import datetime as dt

from fastapi import APIRouter, Request

from app.capture.decoding import decode_batch
from app.capture.schemas import CaptureRead, capture_body
from app.dependencies import CaptureDep
from app.request_body import read_bytes

router = APIRouter(tags=["Capture"])


@router.post("/batch/", summary="Send a batch of events", operation_id="capture_batch", openapi_extra=capture_body)
@router.post("/capture/", summary="Send events", openapi_extra=capture_body)
async def capture_events(request: Request, capture: CaptureDep) -> CaptureRead:
    """Store events and answer when they are committed.

    The body names the project by its public token (`api_key` or `token`) and holds one event, a list of events, or a
    `batch` of them. An event whose `uuid` is known is not stored twice, so a request may safely be sent again. One bad
    event refuses the whole request.
    """
    received_at = dt.datetime.now(dt.UTC)
    await capture.store(decode_batch(await read_bytes(request), received_at), received_at)
    return CaptureRead(status=1)
