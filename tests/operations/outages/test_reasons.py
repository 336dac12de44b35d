"""Every 503 has a line in the log with its reason."""

import asyncio
import logging

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from app.events.capture.service import CaptureService
from app.http.middleware.error_boundary import ServerErrorMiddleware
from app.http.middleware.request_log import AccessLogMiddleware
from app.operations import probes
from tests.operations.outages.applications import running
from tests.support.application import operations

AWAY = "postgresql://abacus@127.0.0.1:1/abacus"
PAGES = [("GET", "/experiments/"), ("GET", "/experiments/1/"), ("GET", "/experiments/1/1/")]


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "abacus"]


async def test_every_operation_without_a_database_logs_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    unavailable, offenders = 0, []
    async with running(AWAY) as (client, _):
        client.cookies.set("abacus_session", "x")
        for method, path in [*operations(), *PAGES]:
            caplog.clear()
            body = {"api_key": "phc_x", "token": "phc_x", "event": "visit", "distinct_id": "ann"}
            address = path.replace("{", "").replace("}", "").replace("project_id", "1")
            response = await client.request(method, address, json=body, headers={"Authorization": "Bearer phx_x"})
            if response.status_code == 503:
                unavailable += 1
                lines = [line for line in reasons(caplog) if line.startswith(f"unavailable: {method} /")]
                if len(lines) != 1 or "ConnectionRefusedError" not in lines[0]:
                    offenders.append((method, path, lines))

    assert offenders == []
    assert unavailable > 60


async def test_request_that_a_stop_cuts_off_logs_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def run_until_cancelled(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise asyncio.CancelledError

    application = AccessLogMiddleware(ServerErrorMiddleware(run_until_cancelled), frozenset(), frozenset())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://a") as client:
        response = await client.get("/")

    assert response.status_code == 503
    assert reasons(caplog) == ["unavailable: GET an unknown path: The service is being restarted. Please try again."]


async def test_lack_of_memory_asks_to_send_the_request_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def store(*_arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(CaptureService, "store", store)
    async with running(AWAY) as (client, _):
        response = await client.post("/capture/", json={"api_key": "x", "event": "visit", "distinct_id": "ann"})

    [line] = [line for line in reasons(caplog) if line.startswith("unavailable")]
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert line == "unavailable: POST /capture/: The service has no memory for this request now. Please try again."


async def test_probes_log_once_why_the_process_is_not_ready(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_FRESH_SECONDS", 0)
    async with running(AWAY) as (client, _):
        answers = [(await client.get("/_readyz")).status_code for _ in range(3)]

    [line] = [one for one in reasons(caplog) if one.startswith("probe: ")]  # the background has its own line
    assert answers == [503] * 3
    assert line.startswith("probe: the database cannot be reached: ConnectionRefusedError: ")
