import datetime as dt
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest
from sqlalchemy import Select, select

from app.accounts.projects.service import AccountService
from app.db.database import Database
from app.db.models import PersonalApiKey, utc_now
from tests.support.service import Service

pytestmark = pytest.mark.one_database

ME = "/api/users/@me/"
NOT_PROVIDED = {
    "type": "authentication_error",
    "code": "not_authenticated",
    "detail": "Authentication credentials were not provided.",
    "attr": None,
}
INVALID = {
    "type": "authentication_error",
    "code": "authentication_failed",
    "detail": "Personal API key found in request Authorization header is invalid.",
    "attr": None,
}


def only_key_of(service: Service) -> Select[PersonalApiKey]:
    return select(PersonalApiKey).where(PersonalApiKey.user.has(email=service.email))


async def stored_key(database: Database, service: Service) -> PersonalApiKey:
    async with database.read() as session:
        return (await session.scalars(only_key_of(service))).one()


@pytest.mark.parametrize(
    ("authorization", "answer"),
    [
        (None, NOT_PROVIDED),
        (b"", NOT_PROVIDED),
        (b"Bearer", NOT_PROVIDED),
        (b"Bearer x", NOT_PROVIDED),
        (b"Basic YTpi", NOT_PROVIDED),
        (b"bearer %(key)s", NOT_PROVIDED),
        (b"Token %(key)s", NOT_PROVIDED),
        (b"Bearer phx_unknown", INVALID),
        (b"Bearer %(key)sx", INVALID),
        (b"Bearer %(token)s", INVALID),
        (b"Bearer " + b"x" * 10_000, INVALID),
        (b"Bearer \xff\xfe\x80", INVALID),
        (b"Bearer a\0b", INVALID),
        (b"Bearer ' OR 1=1 --", INVALID),
    ],
)
async def test_request_without_a_valid_key_is_refused(
    service: Service, authorization: bytes | None, answer: object
) -> None:
    headers = {}
    if authorization is not None:
        headers[b"Authorization"] = authorization % {b"key": service.key.encode(), b"token": service.token.encode()}

    response = await service.client.get(f"{service.project}/experiments/", headers=headers)

    assert (response.status_code, response.json()) == (401, answer)
    assert response.headers["WWW-Authenticate"] == "Bearer"


def invalid(place: str) -> dict[str, str | None]:
    return {**INVALID, "detail": f"Personal API key found in request {place} is invalid."}


@pytest.mark.parametrize(
    ("header", "body", "query", "answer"),
    [
        (None, None, "good", None),
        (None, "good", None, None),
        (None, "good", "bad", None),
        ("good", "bad", "bad", None),
        (None, None, "bad", invalid("query string")),
        (None, "bad", "good", invalid("body")),
        ("bad", "good", "good", invalid("Authorization header")),
    ],
)
@pytest.mark.parametrize("is_form", [False, True])
async def test_first_key_of_header_body_and_query_is_used(
    service: Service, header: str | None, body: str | None, query: str | None, answer: object, *, is_form: bool
) -> None:
    keys = {"good": service.key, "bad": "phx_unknown"}
    fields = {"personal_api_key": keys[body]} if body else {"name": "x"}

    response = await service.client.request(
        "PATCH",
        f"{service.project}/experiments/999/",
        headers={"Authorization": f"Bearer {keys[header]}"} if header else {},
        params={"personal_api_key": keys[query]} if query else {},
        data=fields if is_form else None,
        json=None if is_form else fields,
    )

    found = (401, answer) if answer else (404, response.json())
    assert (response.status_code, response.json()) == found


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"personal_api_key": "%s"'),
        ("application/json", b'["personal_api_key", "%s"]'),
        ("application/json", b'{"personal_api_key": ["%s"]}'),
        ("application/json", b'{"personal_api_key": ""}'),
        ("text/plain", b"personal_api_key=%s"),
        ("multipart/form-data", b"personal_api_key=%s"),
    ],
)
async def test_key_in_a_malformed_body_is_ignored(service: Service, content_type: str, body: bytes) -> None:
    response = await service.client.post(
        f"{service.project}/experiments/",
        content=body.replace(b"%s", service.key.encode()),
        headers={"Content-Type": content_type},
    )

    assert (response.status_code, response.json()) == (401, NOT_PROVIDED)


async def me(service: Service) -> httpx.Response:
    return await service.client.get(ME, headers={"Authorization": f"Bearer {service.key}"})


async def test_revoked_key_is_refused(service: Service, database: Database) -> None:
    assert (await me(service)).status_code == 200
    async with database.write() as session:
        await AccountService(session).revoke_key((await stored_key(database, service)).id)

    response = await me(service)

    assert (response.status_code, response.json()) == (401, INVALID)


async def test_keys_of_a_deactivated_user_are_refused(service: Service, database: Database) -> None:
    async with database.write() as session:
        await AccountService(session).deactivate_user(service.email)

    response = await me(service)

    assert (response.status_code, response.json()) == (401, INVALID)


async def test_database_holds_only_the_digest_and_eight_characters_of_a_key(
    service: Service, database: Database
) -> None:
    stored = await stored_key(database, service)

    row = {column.name: str(getattr(stored, column.name)) for column in PersonalApiKey.__table__.columns}
    assert row["mask"] == f"phx_...{service.key[-4:]}"
    assert not any(service.key[4:-4] in value for value in row.values())


async def test_last_use_of_a_key_is_stored_once_an_hour(service: Service, database: Database) -> None:
    before = utc_now()
    await me(service)
    first = (await stored_key(database, service)).last_used_at
    await me(service)
    second = (await stored_key(database, service)).last_used_at

    assert first is not None
    assert second is not None
    assert before <= first <= utc_now()
    assert second == first or second.hour != first.hour


async def test_use_of_a_key_in_another_hour_is_stored_again(service: Service, database: Database) -> None:
    yesterday = utc_now() - dt.timedelta(days=1)
    async with database.write() as session:
        (await session.scalars(only_key_of(service))).one().last_used_at = yesterday

    await me(service)

    last_used_at = (await stored_key(database, service)).last_used_at
    assert last_used_at is not None
    assert last_used_at > yesterday


async def test_keys_do_not_appear_in_logs_and_responses(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    secret = service.key[4:-4]
    with caplog.at_level(logging.DEBUG):
        answers = [
            await me(service),
            await service.client.get(ME, headers={"Authorization": f"Bearer {service.key}x"}),
            await service.post("/experiments/", {"name": []}),
            await service.get("/experiments/", personal_api_key=service.key, limit="1", offset="1"),
        ]

    logged = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpx"))
    assert secret not in logged
    assert all(secret not in answer.text for answer in answers)


@pytest.mark.parametrize("change", [lambda key: key[:-1] + "_", lambda key: "_" + key[1:], lambda key: key + "x"])
async def test_keys_are_found_only_by_their_digest(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]
) -> None:
    """A guess that is nearly right takes the way of any other: one look at an index of digests, which tells nothing."""
    asked: list[Mapping[str, object]] = []
    fetch = database.fetch

    async def noted(query: Select[*tuple[Any, ...]], parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        asked.append(parameters)
        return await fetch(query, parameters)

    monkeypatch.setattr(database, "fetch", noted)
    guess = change(service.key)

    response = await service.client.get(ME, headers={"Authorization": f"Bearer {guess}"})

    assert response.status_code == 401
    assert asked == [{"digest": hashlib.sha256(guess.encode()).hexdigest(), "project_id": None}]
