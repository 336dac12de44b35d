"""CORS of the private API: only pages of the listed origins may call it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app.db.database import Database
from app.main import create_app
from app.settings import Settings
from tests.support.service import Service

pytestmark = pytest.mark.one_database

FRIEND = "https://office.example"
STRANGERS = [
    "https://evil.example",
    "null",
    "http://office.example",
    "https://office.example.evil.example",
    "https://evil.office.example",
    "https://office.example:8443",
    "*",
]


@pytest.fixture(scope="module")
def open_application() -> FastAPI:
    return create_app(Settings(refresh_interval=0, cors_allowed_origins=[FRIEND]))


@pytest.fixture
async def opened(open_application: FastAPI, application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The same database behind a service that lists one origin."""
    open_application.state = application.state
    transport = httpx.ASGITransport(app=open_application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as client:
        yield client


@pytest.mark.parametrize("origin", STRANGERS)
async def test_pages_of_other_origins_may_not_call(opened: httpx.AsyncClient, service: Service, origin: str) -> None:
    path = f"{service.project}/experiments/"
    asking = {
        "Origin": origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }

    answers = [
        await opened.options(path, headers=asking),
        await opened.get(path, headers={"Origin": origin, "Authorization": f"Bearer {service.key}"}),
        await opened.get(path, headers={"Origin": origin}),
    ]

    assert [answer.headers.get("Access-Control-Allow-Origin") for answer in answers] == [None] * 3
    assert [answer.headers.get("Access-Control-Allow-Credentials") for answer in answers] == [None] * 3


async def test_pages_of_a_listed_origin_may_call_and_read_errors(
    opened: httpx.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{service.project}/experiments/"
    headers = {"Origin": FRIEND, "Authorization": f"Bearer {service.key}"}
    asking = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization, if-match"}

    answers = [
        (200, await opened.options(path, headers={"Origin": FRIEND, **asking})),
        (200, await opened.get(path, headers=headers)),
        (400, await opened.post(path, headers=headers, json={})),
        (401, await opened.get(path, headers={"Origin": FRIEND})),
        (404, await opened.get(f"{path}999/", headers=headers)),
    ]
    monkeypatch.setattr(Database, "fetch", lambda *_: 1 / 0)
    answers.append((500, await opened.get(path, headers=headers)))

    for status, answer in answers:
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Origin" in answer.headers["Vary"]
    exposed = answers[1][1].headers["Access-Control-Expose-Headers"]
    assert set(exposed.split(", ")) == {"ETag", "Retry-After", "X-Request-ID"}


async def test_pages_may_not_call_without_a_list_of_origins(service: Service) -> None:
    answer = await service.request("GET", "/experiments/", headers={"Origin": FRIEND})

    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]
