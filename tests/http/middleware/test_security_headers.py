"""Security headers of all responses, and the content security policy of the documentation pages."""

import re

import httpx
import pytest

from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

CLOSED = "default-src 'none'; frame-ancestors 'none'"


async def test_responses_forbid_sniffing_caching_and_framing(service: Service, client: httpx.AsyncClient) -> None:
    answers = [
        await service.get("/experiments/"),
        await service.get("/experiments/999/"),
        await client.get(f"{service.project}/experiments/"),
        await client.get("/nothing"),
        await client.post("/e/", json={"api_key": service.token, **event("visit", "ann")}),
        await client.post("/e/", content=b"{"),
        await client.post("/flags/", json={"token": service.token, "distinct_id": "ann"}),
        await client.get("/api/users/@me/", headers={"Host": "a b"}),
    ]

    assert [answer.status_code for answer in answers] == [200, 404, 401, 404, 200, 400, 200, 400]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"] == CLOSED


async def test_cacheable_responses_keep_their_own_header(service: Service, client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/array/{service.token}/config")

    assert answer.headers.get_list("Cache-Control") == ["public, max-age=60"]


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/redoc"])
async def test_documentation_loads_only_bundled_files(client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path)
    named = re.findall(r'(?:src|href|spec-url|data-document)="([^"]*)"', page.text)

    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert (policy["script-src"], policy["connect-src"]) == ("'self'", "'self'")
    assert "://" not in page.text
    assert re.findall(r"<script(?![^>]* src=)", page.text) == []
    assert len(named) >= 3
    assert [(await client.get(name)).status_code for name in named] == [200] * len(named)


@pytest.mark.parametrize("name", ["..%2f__init__.py", "nothing.js", "%00", "core.py"])
async def test_known_files_of_the_documentation_only_are_served(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/docs/files/{name}")).status_code == 404
