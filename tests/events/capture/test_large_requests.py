"""Large requests, of which only some are decoded and stored at a time."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from app.common import limits
from app.common.limits import Limit
from app.sdk import requests as sdk
from app.sdk.payloads import SdkRequest, decode_payload
from tests.support.inputs.capture import as_gzip, event, payload
from tests.support.service import Service

pytestmark = pytest.mark.one_database

AT_A_TIME = limits.PAYLOADS_BYTES.value // limits.REQUEST_BYTES.value


async def test_large_requests_wait_for_each_other(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, inside, most = threading.Lock(), 0, 0
    together = threading.Barrier(AT_A_TIME)

    def decode(request: SdkRequest, limit: Limit = limits.REQUEST_BYTES) -> bytes:
        nonlocal inside, most
        if limit.value < limits.REQUEST_BYTES.value:  # it is tried as a small one first
            return decode_payload(request, limit)
        with lock:
            inside += 1
            most = max(most, inside)
        together.wait(timeout=20)  # as many as may are inside, and then see whether more are
        decoded = decode_payload(request)
        with lock:
            inside -= 1
        return decoded

    monkeypatch.setattr(sdk, "decode_payload", decode)

    statuses = await asyncio.gather(*(_send(service, [_large(number)]) for number in range(3 * AT_A_TIME)))

    assert statuses == [200] * 3 * AT_A_TIME
    assert most == AT_A_TIME


async def _send(service: Service, events: Sequence[dict[str, Any]]) -> int:
    call = as_gzip("/batch/", payload(list(events), service.token))
    sent = await service.client.request(call.method, call.path, content=call.body, headers=call.headers)
    return sent.status_code


def _large(number: int) -> dict[str, Any]:
    return event("large", f"p{number}", {"note": "x" * 600_000})
