"""Pages of any origin may send events: the headers that browsers require."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

PAGE = "https://shop.example"
ASKING = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
ADDRESSES = ["/batch/", "/batch", "/capture/", "/e/", "/e", "/i/v0/e/", "/track/", "/engage/", "/s/"]
ASKED_BY_PAGES = [
    "/flags/", "/flags", "/decide/", "/decide", "/array/phc_x/config", "/array/phc_x/config.js",
    "/array/phc_x/array.js", "/static/array.js", "/static/1.2.3/surveys.js", "/api/surveys/",
]  # fmt: skip


@pytest.fixture(scope="module")
async def cut_off() -> AsyncIterator[httpx.AsyncClient]:
    """A service whose database is away, and whose private API one origin may call."""
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    application = create_app(
        Settings(database_url=url, refresh_interval=0, cors_allowed_origins=["https://office.example"])
    )
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as client,
    ):
        yield client


def opened(response: httpx.Response) -> tuple[str | None, str | None, bool]:
    """Return the origin that is allowed, whether with credentials, and whether caches know that it varies."""
    headers = response.headers
    return (
        headers.get("Access-Control-Allow-Origin"),
        headers.get("Access-Control-Allow-Credentials"),
        "origin" in headers.get("Vary", "").lower(),
    )


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000", "https://office.example", "null"])
@pytest.mark.parametrize("address", ADDRESSES + ASKED_BY_PAGES)
async def test_preflight_is_granted_without_a_database(cut_off: httpx.AsyncClient, address: str, origin: str) -> None:
    asked = {**ASKING, "Origin": origin, "Access-Control-Request-Headers": "content-type, x-own"}

    response = await cut_off.options(address, headers=asked)

    assert (response.status_code, response.json()) == (200, {"status": 1})
    assert opened(response) == (origin, "true", True)
    assert response.headers["Access-Control-Allow-Headers"] == "content-type, x-own"
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"


@pytest.mark.parametrize("address", ADDRESSES[:-1])
async def test_page_of_another_origin_reads_retry_after_and_the_log_names_the_reason(
    cut_off: httpx.AsyncClient, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"api_key": "phc_x", **event("visit", "ann")}

    response = await cut_off.post(address, json=body, headers={"Origin": "https://office.example"})

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.json() == {
        "type": "server_error",
        "code": "server_error",
        "detail": "Unable to store event. Please try again. If you are the owner of this app you can check the logs "
        "for further details.",
        "attr": None,
    }
    assert "Connect call failed" in caplog.text
    assert opened(response) == ("https://office.example", "true", True)
    assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]


async def test_answers_of_every_kind_can_be_read(service: Service) -> None:
    accepted = {"api_key": service.token, **event("visit", "ann")}
    for status, response in [
        (200, await service.client.post("/e/", json=accepted, headers={"Origin": PAGE})),
        (204, await service.client.post("/e/?beacon=1", json=accepted, headers={"Origin": PAGE})),
        (400, await service.client.post("/e/", json={}, headers={"Origin": PAGE})),
        (401, await service.client.post("/e/", json={**accepted, "api_key": "x"}, headers={"Origin": PAGE})),
        (405, await service.client.put("/e/", json={}, headers={"Origin": PAGE})),
        (413, await service.client.post("/e/", content=b" " * 20_971_521, headers={"Origin": PAGE})),
    ]:
        assert (response.status_code, opened(response)) == (status, (PAGE, "true", True))


@pytest.mark.parametrize("address", ASKED_BY_PAGES)
async def test_page_of_another_origin_reads_answers_and_refusals(service: Service, address: str) -> None:
    headers = {"Origin": PAGE}

    for path in (address, address.replace("phc_x", service.token)):
        assert opened(await service.client.get(path, headers=headers)) == (PAGE, "true", True)
    body = {"token": "phc_x", "distinct_id": "ann"}
    assert opened(await service.client.post(address, json=body, headers=headers)) == (PAGE, "true", True)


async def test_request_without_an_origin_gets_only_the_vary_header(service: Service) -> None:
    response = await service.client.post("/e/", json={"api_key": service.token, **event("visit", "ann")})

    assert opened(response) == (None, None, True)


async def test_private_addresses_keep_their_own_rules(cut_off: httpx.AsyncClient) -> None:
    stranger = await cut_off.options("/api/projects/1/experiments/", headers=ASKING)
    friend = await cut_off.options(
        "/api/projects/1/experiments/", headers={**ASKING, "Origin": "https://office.example"}
    )

    assert opened(stranger)[0] is None
    assert opened(friend)[0] == "https://office.example"
