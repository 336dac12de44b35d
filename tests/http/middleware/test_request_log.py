"""The access log: one line for each request, with an id and without secrets."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from app.telemetry.logging import JsonFormatter, redact, request_id
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

Line = dict[str, Any]


class Lines(logging.Handler):
    """Collects lines as they would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def about_requests(self) -> list[Line]:
        return [line for line in map(json.loads, self.texts) if line["logger"] == "abacus.request"]


@pytest.fixture
def lines() -> Iterator[Lines]:
    logger, lines = logging.getLogger("abacus"), Lines()
    level = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.DEBUG)
    yield lines
    logger.removeHandler(lines)
    logger.setLevel(level)


async def test_each_request_is_one_line(service: Service, lines: Lines) -> None:
    response = await service.client.get(
        f"{service.project}/experiments/?limit=7&personal_api_key={service.key}", headers={"X-Request-ID": "proxy-1"}
    )

    [line] = lines.about_requests()
    assert line.pop("time")
    assert line.pop("milliseconds") > 0
    assert line.pop("message").startswith("GET /api/projects/{project_id}/experiments/ 200 ")
    assert line == {
        "level": "info",
        "logger": "abacus.request",
        "request_id": "proxy-1",
        "method": "GET",
        "route": "/api/projects/{project_id}/experiments/",
        "path": f"{service.project}/experiments/",
        "status": 200,
        "bytes": len(response.content),
        "client": "127.0.0.1",
    }


async def test_log_lines_do_not_contain_keys_or_query_strings(service: Service, lines: Lines) -> None:
    secret = service.key.removeprefix("phx_")
    project = f"/api/projects/{service.project_id}"
    await service.client.get(f"{project}/?personal_api_key={service.key}&canary=1")
    await service.client.get(f"/api/projects/{service.key}/")
    await service.client.post(f"{project}/experiments/", json={"personal_api_key": service.key, "name": 1})
    await service.client.get(f"/array/{service.token}/config")
    await service.capture(event("visit", "canary-person"))

    written = "\n".join(lines.texts)
    assert len(lines.about_requests()) == 5
    for forbidden in (secret, service.token.removeprefix("phc_"), "canary", "?"):
        assert forbidden not in written


@pytest.mark.parametrize("sent", ["", "two words", "a" * 65, 'x"y', "naïve"])
async def test_request_id_that_is_not_a_plain_word_is_replaced(client: httpx.AsyncClient, sent: str) -> None:
    response = await client.get("/_livez", headers={b"X-Request-ID": sent.encode()})

    assert UUID(response.headers["X-Request-ID"]).version == 4


async def test_plain_request_id_is_returned_with_every_response(client: httpx.AsyncClient) -> None:
    for path, method in (("/_livez", "GET"), ("/nothing/", "GET"), ("/flags/", "OPTIONS"), ("/api/users/@me/", "GET")):
        response = await client.request(method, path, headers={"X-Request-ID": "01H.abc_-"})

        assert response.headers["X-Request-ID"] == "01H.abc_-"


async def test_probes_are_not_logged(client: httpx.AsyncClient, lines: Lines) -> None:
    for path in ("/_livez", "/_readyz", "/metrics"):
        await client.get(path)

    assert lines.about_requests() == []


async def test_successful_requests_of_sdks_are_logged_only_at_debug(service: Service, lines: Lines) -> None:
    await service.capture(event("visit", "ann"))
    await service.client.post("/flags", json={"token": service.token, "distinct_id": "ann"})
    await service.client.post("/batch/", json={"api_key": "phc_unknown", "batch": [event("visit", "ann")]})

    written = [(line["route"], line["status"], line["level"]) for line in lines.about_requests()]
    assert written == [("/batch/", 200, "debug"), ("/flags/", 200, "debug"), ("/batch/", 401, "info")]


async def test_unhandled_exception_is_logged_with_the_request_id(
    application: FastAPI, client: httpx.AsyncClient, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(application.state, "capture")

    response = await client.post("/batch/", json={"api_key": "phc_abcdefgh", "batch": [event("visit", "ann")]})

    bug, request = map(json.loads, lines.texts)
    assert response.status_code == 500
    assert (request["status"], request["level"], request["route"]) == (500, "warning", "/batch/")
    assert bug["request_id"] == request["request_id"] == response.headers["X-Request-ID"]
    assert "AttributeError" in bug["exception"]
    assert "phc_abcdefgh" not in "".join(lines.texts)


def test_log_record_stays_on_one_line() -> None:
    token = request_id.set("abc")
    try:
        raise RuntimeError("first\nsecond \ud800 \x1b[31m")
    except RuntimeError:
        record = logging.LogRecord("abacus", logging.ERROR, "", 0, "a\r\nb\u2028c", None, sys.exc_info())
    written = JsonFormatter().format(record)
    request_id.reset(token)

    assert written.isprintable()
    assert json.loads(written)["message"] == "a\r\nb\u2028c"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Bearer phx_AbC-123_x.", "Bearer phx_***."),
        ("postgresql://ann:p@ss:w0rd@db/abacus", "postgresql://***@db/abacus"),
        ("sent phs_Secret99, phc_token12", "sent phs_***, phc_***"),
        ("https://example.com/a:b@c", "https://example.com/a:b@c"),
        ("graph_x is no key", "graph_x is no key"),
    ],
)
def test_keys_and_passwords_are_redacted(text: str, redacted: str) -> None:
    assert redact(text) == redacted
