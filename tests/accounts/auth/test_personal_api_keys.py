"""Personal API keys over REST."""

import asyncio
import logging
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import select

from app.db.database import Database
from app.db.models import PersonalApiKey
from tests.accounts.auth.test_authentication import INVALID, ME
from tests.accounts.projects.test_isolation import NOT_FOUND
from tests.conftest import new_service
from tests.support.service import Json, Service

pytestmark = pytest.mark.one_database

KEYS = "/api/personal_api_keys/"


async def call(service: Service, method: str, path: str = KEYS, body: object = None) -> httpx.Response:
    return await service.client.request(method, path, headers={"Authorization": f"Bearer {service.key}"}, json=body)


async def created(service: Service, label: str = "Dashboard") -> Json:
    response = await call(service, "POST", KEYS, {"label": label})
    assert response.status_code == 201, response.text
    return response.json()


def without_value(key: Json) -> Json:
    return {name: value for name, value in key.items() if name != "value"}


async def test_new_key_is_shown_once_with_its_value(service: Service) -> None:
    me = (await call(service, "GET", ME)).json()

    key = await created(service, " Dashboard ")

    expected = {
        "id": key["id"],
        "label": "Dashboard",
        "value": key["value"],
        "created_at": key["created_at"],
        "last_used_at": None,
        "user_id": me["id"],
        "scopes": ["*"],
    }
    assert list(key.items()) == list(expected.items())
    assert isinstance(key["id"], str)
    assert key["value"].startswith("phx_")
    response = await call(service, "GET", f"{KEYS}{key['id']}/")
    assert (response.status_code, response.json()) == (200, without_value(key))


async def test_new_key_has_the_access_of_its_user_and_its_use_is_stored(service: Service) -> None:
    key = await created(service)

    response = await replace(service, key=key["value"]).get("/experiments/")

    used = (await call(service, "GET", f"{KEYS}{key['id']}/")).json()
    assert response.status_code == 200
    assert used == {**without_value(key), "last_used_at": used["last_used_at"]}
    assert used["last_used_at"] >= key["created_at"]


async def test_own_keys_are_listed_newest_first_in_a_plain_array(service: Service, database: Database) -> None:
    first = await created(service, "First")
    second = await created(service, "Second")
    await new_service(service.client, database)

    response = await call(service, "GET")

    set_up = response.json()[2]
    assert (response.status_code, set_up["label"]) == (200, "Web shop set-up")
    assert response.json() == [without_value(second), without_value(first), set_up]
    assert list(set_up) == ["id", "label", "created_at", "last_used_at", "user_id", "scopes"]


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        ({}, "required", "This field is required."),
        ({"label": None}, "null", "This field may not be null."),
        ({"label": " "}, "blank", "This field may not be blank."),
        ({"label": "x" * 41}, "max_length", "Ensure this field has no more than 40 characters."),
        ({"label": []}, "invalid_input", "Not a valid string."),
        ({"label": "\0"}, "null_characters_not_allowed", "Null characters are not allowed."),
    ],
)
async def test_key_needs_a_label_of_at_most_40_characters(
    service: Service, body: object, code: str, detail: str
) -> None:
    response = await call(service, "POST", KEYS, body)

    assert response.status_code == 400
    assert response.json() == {"type": "validation_error", "code": code, "detail": detail, "attr": "label"}
    assert len((await call(service, "GET")).json()) == 1
    assert (await created(service, "ü" * 40))["label"] == "ü" * 40


async def test_deleted_key_is_refused(service: Service) -> None:
    key = await created(service)
    other = replace(service, key=key["value"])
    assert (await call(other, "GET", ME)).status_code == 200

    response = await call(service, "DELETE", f"{KEYS}{key['id']}/")

    assert (response.status_code, response.content) == (204, b"")
    refused = await call(other, "GET", ME)
    assert (refused.status_code, refused.json()) == (401, INVALID)
    assert (await call(service, "GET", f"{KEYS}{key['id']}/")).status_code == 404


async def test_key_may_delete_itself(service: Service) -> None:
    (own,) = (await call(service, "GET")).json()

    assert (await call(service, "DELETE", f"{KEYS}{own['id']}/")).status_code == 204
    assert (await call(service, "GET")).status_code == 401


@pytest.mark.each_database
async def test_one_of_concurrent_deletions_succeeds(service: Service) -> None:
    key = await created(service)

    responses = await asyncio.gather(*(call(service, "DELETE", f"{KEYS}{key['id']}/") for _ in range(3)))

    assert sorted(response.status_code for response in responses) == [204, 404, 404]


@pytest.mark.one_database("postgresql")
@pytest.mark.parametrize("reference", ["0", "-1", "999", "9" * 5000, "1%00", "1.5", "one", "phx_", "@current"])
async def test_invalid_key_id_is_not_found(service: Service, reference: str) -> None:
    for method in ("GET", "DELETE"):
        response = await call(service, method, f"{KEYS}{reference}/")
        assert (response.status_code, response.json()) == (404, NOT_FOUND)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_key_cannot_be_changed(service: Service, method: str) -> None:
    key = await created(service)

    response = await call(service, method, f"{KEYS}{key['id']}/", {"label": "Other"})

    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, DELETE, HEAD, OPTIONS"
    assert response.json()["detail"] == f'Method "{method}" not allowed.'


@pytest.mark.each_database
async def test_value_of_a_created_key_is_neither_stored_nor_logged(
    service: Service, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        key = await created(service)
        pages = [
            await service.client.get(path, params={"personal_api_key": key["value"], "limit": "1"})
            for path in (f"{service.project}/feature_flags/", "/api/organizations/@current/members/", KEYS, "/nothing")
        ]

    secret = key["value"][4:-4]
    async with database.read() as session:
        rows = (await session.scalars(select(PersonalApiKey))).all()
    stored = [str(getattr(row, column.name)) for row in rows for column in PersonalApiKey.__table__.columns]
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    answered = [page.text for page in pages]
    assert [page.status_code for page in pages] == [200, 200, 200, 404]
    assert not [text for text in (*stored, *logged, *answered) if secret in text]


async def test_id_of_a_deleted_key_is_not_used_again(service: Service) -> None:
    first = await created(service)
    await call(service, "DELETE", f"{KEYS}{first['id']}/")

    assert int((await created(service))["id"]) > int(first["id"])
