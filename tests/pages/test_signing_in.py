"""Sign-in, access to pages, and the cookie."""

import hashlib
import re
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI
from pydantic import HttpUrl
from sqlalchemy import select, update

from app.accounts.projects.service import AccountService
from app.common import limits
from app.db.database import Database
from app.db.models import BrowserSession, SignInLink, utc_now
from app.settings import Settings
from tests.conftest import new_service
from tests.pages.conftest import Visitor
from tests.support.service import Service, session_of

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
    name, _, rest = answer.headers["Set-Cookie"].partition("=")
    token, _, attributes = rest.partition("; ")
    assert (name, attributes) == ("abacus_session", "HttpOnly; Max-Age=1209600; Path=/experiments; SameSite=lax")
    assert service.key not in token
    assert (await stranger.look(experiment)).text.count("Checkout button") >= 1


@pytest.mark.parametrize("key", ["", "phx_wrong", "\x00\r\nSet-Cookie: a=b", "ключ", "x" * 10_000])
async def test_sign_in_refuses_an_invalid_key(stranger: Visitor, key: str) -> None:
    answer = await stranger.sign_in(key)

    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Invalid API key" in answer.text
    assert "set-cookie" not in answer.headers


async def test_wrong_key_does_not_forget_the_requested_page(service: Service, stranger: Visitor) -> None:
    answer = await stranger.sign_in("phx_wrong", "/experiments/7/8/")

    assert 'name="next" value="/experiments/7/8/"' in answer.text


@pytest.mark.parametrize("body", [b"", b"key=a&key=b", b"key", b"\xff=\xfe", b"a=b&" * 2_000, b"k" * 20_000])
async def test_hostile_form_causes_no_server_error(stranger: Visitor, body: bytes) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    answer = await stranger.browser.post("/experiments/sign-in/", content=body, headers=form)

    assert answer.status_code in {400, 401, 413}
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


async def test_revoked_key_signs_the_user_out(service: Service, visitor: Visitor, database: Database) -> None:
    async with database.write() as session:
        keys = AccountService(session)
        [key] = await keys.list_keys(service.email)
        await keys.revoke_key(key.id)

    page = await visitor.browser.get(visitor.path())

    assert page.status_code == 401
    assert 'abacus_session=""' in page.headers["Set-Cookie"]


async def test_signing_out_ends_the_session_itself(visitor: Visitor) -> None:
    token = visitor.browser.cookies["abacus_session"]

    answer = await visitor.browser.post("/experiments/sign-out")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/experiments/")
    assert "Personal API key" in (await visitor.look()).text
    kept = await visitor.browser.get(visitor.path(), headers={"Cookie": f"abacus_session={token}"})
    assert kept.status_code == 401


async def test_only_the_digest_of_a_session_is_stored(visitor: Visitor, database: Database) -> None:
    token = visitor.browser.cookies["abacus_session"]

    async with database.read() as session:
        stored = (await session.scalars(select(BrowserSession.digest))).all()

    assert hashlib.sha256(token.encode()).hexdigest() in stored
    assert token not in stored


async def test_session_ends_by_itself(visitor: Visitor, database: Database) -> None:
    async with database.write() as session:
        await session.execute(update(BrowserSession).values(expires_at=utc_now()))

    assert (await visitor.look()).status == 401


async def test_sessions_are_listed_and_ended(service: Service, visitor: Visitor) -> None:
    other = await session_of(service.client, service.key)
    await visitor.sign_in(service.key)

    page = await visitor.browser.get("/experiments/sessions/")
    ends = re.findall(r'action="(/experiments/sessions/\d+/end/)"', page.text)
    for end in ends[1:]:  # the first is the one that looks
        assert (await visitor.browser.post(end)).status_code == 303

    assert page.text.count("this browser") == 1
    assert len(ends) == 3
    assert (await visitor.look()).status == 200
    assert (await service.client.get(visitor.path(), headers=other)).status_code == 401


async def test_limited_session_neither_sees_nor_ends_one_that_may_do_more(
    service: Service, visitor: Visitor, database: Database
) -> None:
    page = await visitor.browser.get("/experiments/sessions/")
    [end] = re.findall(r'action="(/experiments/sessions/\d+/end/)"', page.text)
    async with database.write() as session:
        _, key = await AccountService(session).create_key(service.email, "Reader", ["experiment:read"])
    await visitor.sign_in(key)

    assert end not in (await visitor.browser.get("/experiments/sessions/")).text
    assert (await visitor.browser.post(end)).status_code == 404


async def test_number_of_sessions_of_a_user_is_bounded(
    service: Service, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BROWSER_SESSIONS", replace(limits.BROWSER_SESSIONS, value=2))
    for _ in range(3):
        await visitor.sign_in(service.key)

    page = await visitor.browser.get("/experiments/sessions/")

    assert page.text.count("/end/") == 2


async def test_link_signs_in_once(service: Service, stranger: Visitor, database: Database) -> None:
    async with database.write() as session:
        token = await AccountService(session).create_sign_in_link(service.email)

    looked = await stranger.browser.get("/experiments/sign-in/", params={"link": token})
    first = await stranger.browser.post("/experiments/sign-in/", data={"link": token})
    page = await stranger.look()
    again = await stranger.browser.post("/experiments/sign-in/", data={"link": token})

    assert "This link signs you in once" in looked.text
    assert "set-cookie" not in looked.headers
    assert (first.status_code, page.status, again.status_code) == (303, 200, 401)
    assert "used already" in again.text


async def test_link_of_a_deactivated_user_and_an_old_link_are_refused(
    service: Service, stranger: Visitor, database: Database
) -> None:
    async with database.write() as session:
        old = await AccountService(session).create_sign_in_link(service.email)
        await session.execute(update(SignInLink).values(expires_at=utc_now()))
    async with database.write() as session:
        fresh = await AccountService(session).create_sign_in_link(service.email)
        await AccountService(session).deactivate_user(service.email)

    for token in (old, fresh):
        assert (await stranger.browser.post("/experiments/sign-in/", data={"link": token})).status_code == 401


@pytest.mark.parametrize(
    "destination",
    [
        "https://evil.example/",
        "//evil.example",
        "/experimentsX",
        "/api/",
        "/experiments/\r\nX: y",
        "/experiments/\\\\evil",
    ],
)
async def test_sign_in_leads_to_pages_of_this_service_only(
    service: Service, stranger: Visitor, destination: str
) -> None:
    assert (await stranger.sign_in(service.key, destination)).headers["Location"] == "/experiments/"


async def test_cookie_opens_pages_only(service: Service, stranger: Visitor) -> None:
    cookie = await session_of(service.client, service.key)

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
@pytest.mark.parametrize("path", ["/experiments/sign-in/", "/experiments/sign-out/", "/experiments/sessions/1/end/"])
async def test_forms_of_other_sites_are_refused(visitor: Visitor, path: str, headers: dict[str, str]) -> None:
    answer = await visitor.browser.post(path, headers=headers)

    assert answer.status_code == 403
    assert "another site" in answer.text
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
