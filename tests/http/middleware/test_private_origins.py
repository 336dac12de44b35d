"""CORS of the private API: pages of any origin may read with a key, or only those that the settings name."""

import contextlib
from collections.abc import AsyncIterator
from functools import cache

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


@cache
def built(origins: tuple[str, ...]) -> FastAPI:
    return create_app(Settings(refresh_interval=0, cors_allowed_origins=list(origins)))


@contextlib.asynccontextmanager
async def client_of(application: FastAPI, origins: list[str]) -> AsyncIterator[httpx.AsyncClient]:
    """The same database behind a service with a setting of its own."""
    opened = built(tuple(origins))
    opened.state = application.state
    transport = httpx.ASGITransport(app=opened, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as client:
        yield client


@pytest.fixture
async def opened(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(application, [FRIEND]) as client:
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
        (204, await opened.options(path, headers={"Origin": FRIEND, **asking})),
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
    assert exposed == "ETag, Idempotent-Replayed, Retry-After, Warning, X-Request-ID"


def preflight(method: str, origin: str = STRANGERS[0]) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization",
    }


def cors_headers(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


async def read_from(service: Service, path: str, origin: str) -> httpx.Response:
    return await service.client.get(path, headers={"Origin": origin, "Authorization": f"Bearer {service.key}"})


@pytest.mark.parametrize("origin", STRANGERS)
async def test_pages_of_any_origin_may_read_with_a_key_unless_told_otherwise(service: Service, origin: str) -> None:
    path = f"{service.project}/experiments/"
    asked = await service.client.options(path, headers=preflight("GET", origin))
    answers = {
        200: await read_from(service, path, origin),
        401: await service.client.get(path, headers={"Origin": origin}),
        404: await read_from(service, f"{path}999/", origin),
    }

    assert asked.status_code == 204
    assert cors_headers(asked)["access-control-allow-methods"] == "GET, HEAD"
    assert "Authorization" in cors_headers(asked)["access-control-allow-headers"]
    for status, answer in answers.items():
        assert answer.status_code == status
    for answer in (asked, *answers.values()):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
async def test_pages_of_any_origin_may_not_write(service: Service, method: str) -> None:
    asked = await service.client.options(f"{service.project}/experiments/1/", headers=preflight(method))
    answered = await service.request(method, "/experiments/1/", headers={"Origin": STRANGERS[0]})

    assert (asked.status_code, asked.json()["code"]) == (403, "permission_denied")
    assert cors_headers(asked) == cors_headers(answered) == {}


@pytest.mark.parametrize("path", ["/experiments/", "/experiments/1/", "/metrics", "/_livez"])
async def test_pages_of_abacus_itself_are_closed_to_other_pages(service: Service, path: str) -> None:
    assert cors_headers(await service.client.get(path, headers={"Origin": STRANGERS[0]})) == {}


async def test_setting_may_name_some_and_let_all_others_read(application: FastAPI, service: Service) -> None:
    async with client_of(application, ["*", FRIEND]) as client:
        path = f"{service.project}/experiments/"
        allowed = {
            (origin, method): (await client.options(path, headers=preflight(method, origin))).headers.get(
                "Access-Control-Allow-Origin"
            )
            for origin in (FRIEND, STRANGERS[0])
            for method in ("GET", "PATCH")
        }

    assert list(allowed.values()) == [FRIEND, FRIEND, "*", None]


async def test_empty_setting_closes_the_private_api_to_all_pages(application: FastAPI, service: Service) -> None:
    async with client_of(application, []) as client:
        path = f"{service.project}/experiments/"
        asked = await client.options(path, headers=preflight("GET"))
        read = await client.get(path, headers={"Origin": STRANGERS[0], "Authorization": f"Bearer {service.key}"})

    assert read.status_code == 200
    assert cors_headers(asked) == cors_headers(read) == {}
