"""Sign-in, access to pages, and the cookie."""

import httpx
import pytest
from fastapi import FastAPI
from pydantic import HttpUrl

from app.accounts.projects.service import AccountService
from app.db.database import Database
from app.settings import Settings
from tests.conftest import new_service
from tests.pages.conftest import Visitor
from tests.support.service import Service

pytestmark = pytest.mark.one_database


async def test_every_page_asks_visitors_without_a_session_for_a_key(service: Service, stranger: Visitor) -> None:
    experiment = await service.create_experiment(name="Secret")

    for path in ("/experiments", stranger.path(), stranger.path(experiment), stranger.path({"id": 999})):
        page = await stranger.browser.get(path)
        assert page.status_code == 200
        assert "Personal API key" in page.text
        assert "Secret" not in page.text
        assert "set-cookie" not in page.headers


async def test_sign_in_opens_the_requested_page(service: Service, stranger: Visitor) -> None:
    experiment = await service.create_experiment()

    answer = await stranger.sign_in(f" {service.key}\n", stranger.path(experiment))

    assert (answer.status_code, answer.headers["Location"]) == (303, stranger.path(experiment))
    assert answer.headers["Set-Cookie"] == f"abacus_key={service.key}; HttpOnly; Path=/experiments; SameSite=lax"
    assert (await stranger.look(experiment)).text.count("Checkout button") >= 1


@pytest.mark.parametrize("key", ["", "phx_wrong", "\x00\r\nSet-Cookie: a=b", "ключ", "x" * 10_000])
async def test_sign_in_refuses_an_invalid_key(stranger: Visitor, key: str) -> None:
    answer = await stranger.sign_in(key)

    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Invalid API key" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("body", [b"", b"key=a&key=b", b"key", b"\xff=\xfe", b"a=b&" * 2_000, b"k" * 20_000])
async def test_hostile_form_causes_no_server_error(stranger: Visitor, body: bytes) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    answer = await stranger.browser.post(stranger.path(), content=body, headers=form)

    assert answer.status_code in {400, 401, 413}
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


async def test_revoked_key_signs_the_user_out(service: Service, visitor: Visitor, database: Database) -> None:
    async with database.write() as session:
        keys = AccountService(session)
        [key] = await keys.list_keys(service.email)
        await keys.revoke_key(key.id)

    page = await visitor.browser.get(visitor.path())

    assert page.status_code == 401
    assert 'abacus_key=""' in page.headers["Set-Cookie"]


async def test_signing_out_forgets_the_key(visitor: Visitor) -> None:
    answer = await visitor.browser.post("/experiments/sign-out")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/experiments/")
    assert "Personal API key" in (await visitor.look()).text


async def test_cookie_opens_pages_only(service: Service, stranger: Visitor) -> None:
    cookie = {"Cookie": f"abacus_key={service.key}"}

    for path in (f"{service.project}/experiments/", "/api/users/@me/", "/api/projects/"):
        assert (await stranger.browser.get(path, headers=cookie)).status_code == 401


async def test_projects_of_others_are_not_found(service: Service, visitor: Visitor, database: Database) -> None:
    rival = await new_service(service.client, database)
    theirs = await rival.create_experiment(name="Secret")

    foreign = [
        f"/experiments/{rival.project_id}/",
        f"/experiments/{rival.project_id}/{theirs['id']}/",
        f"/experiments/{service.project_id}/{theirs['id']}/",
    ]
    absent = [
        "/experiments/999/",
        "/experiments/999/1/",
        f"/experiments/{service.project_id}/999/",
        "/experiments/x/y/",
    ]

    pages = [await visitor.browser.get(path) for path in (*foreign, *absent)]
    assert {page.status_code for page in pages} == {404}
    assert {page.headers["Content-Type"] for page in pages} == {"text/html; charset=utf-8"}
    assert [page.text for page in pages[:2]] == [page.text for page in pages[3:5]]
    assert "Secret" not in "".join(page.text for page in pages)


async def test_key_without_the_scope_sees_nothing(service: Service, stranger: Visitor, database: Database) -> None:
    async with database.write() as session:
        _, key = await AccountService(session).create_key(service.email, "Flags", ["feature_flag:read"])

    answer = await stranger.sign_in(key)

    assert answer.status_code == 403
    assert "experiment:read" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://abacus.test"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": ""},
    ],
)
@pytest.mark.parametrize("path", ["/experiments/1/", "/experiments/sign-out"])
async def test_forms_of_other_sites_are_refused(
    service: Service, stranger: Visitor, path: str, headers: dict[str, str]
) -> None:
    answer = await stranger.sign_in(service.key, path, **headers)

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://abacus.test"}])
async def test_own_form_is_accepted(service: Service, stranger: Visitor, headers: dict[str, str]) -> None:
    assert (await stranger.sign_in(service.key, **headers)).status_code == 303


async def test_behind_a_proxy_the_public_address_counts(
    service: Service, application: FastAPI, stranger: Visitor
) -> None:
    known: Settings = application.state.settings
    application.state.settings = Settings(
        database_url=known.database_url, public_url=HttpUrl("https://shop.example/abacus")
    )

    answer = await stranger.sign_in(service.key, Origin="https://shop.example")

    assert answer.status_code == 303
    assert "; Secure" in answer.headers["Set-Cookie"]


async def test_cookie_of_an_encrypted_address_is_secure(service: Service, application: FastAPI) -> None:
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="https://abacus.test") as browser:
        answer = await Visitor(browser, service.project_id).sign_in(service.key)

    assert "; Secure" in answer.headers["Set-Cookie"]
