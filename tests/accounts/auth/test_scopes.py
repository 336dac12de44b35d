"""Scopes of keys: each private route requires one, and refuses a key without it."""

from collections.abc import Mapping
from dataclasses import replace

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import ValidationError

from app.accounts.auth.dependencies import required_scope
from app.accounts.auth.schemas import PersonalApiKeyCreate
from app.accounts.auth.scopes import SCOPES, covers
from app.db.database import Database
from app.http.routing import is_general
from app.main import PRIVATE_ROUTERS
from tests.conftest import new_service
from tests.support.application import Route, operations, private_routes
from tests.support.service import Service, session_of, sign_in

pytestmark = pytest.mark.one_database

KEYS = "/api/personal_api_keys/"


def denied(scope: str) -> dict[str, str | None]:
    return {
        "type": "authentication_error",
        "code": "permission_denied",
        "detail": f"API key missing required scope '{scope}'",
        "attr": None,
    }


async def call(service: Service, method: str, path: str, body: object = None) -> httpx.Response:
    return await service.client.request(method, path, json=body, headers={"Authorization": f"Bearer {service.key}"})


async def with_scopes(service: Service, *scopes: str) -> Service:
    """Return the service as the owner of a key with these scopes sees it."""
    response = await call(service, "POST", KEYS, {"label": "Limited", "scopes": scopes})
    assert (response.status_code, response.json()["scopes"]) == (201, list(scopes))
    return replace(service, key=response.json()["value"])


def address(path: str, service: Service) -> str:
    return path.format_map(Known({"project_id": str(service.project_id), "organization_id": "@current"}))


class Known(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "999"


def test_every_private_operation_documents_its_scope() -> None:
    """One that names none lacks ``dependencies=[require_scope(...)]`` at its router."""
    offenders = []
    for method, path in private_routes():
        named = [list(requirement.values()) for requirement in operations()[method, path]["security"]]
        changes_nothing = method == "GET" or path.endswith(("/analyze/", "/power/", "/trend/", "/funnel/"))
        allowed = [scope for scope in SCOPES if scope.endswith(":read" if changes_nothing else ":write")]
        if named not in [[[[scope]]] for scope in allowed]:
            offenders.append((method, path, named))

    assert offenders == []


def test_every_undocumented_private_route_requires_a_scope() -> None:
    routes = [route for router in PRIVATE_ROUTERS for route in router.routes if isinstance(route, APIRoute)]

    nameless = [route.path for route in routes if not is_general(route) and required_scope(route, "GET") is None]

    assert not nameless
    assert len(routes) > len(private_routes())


async def test_every_operation_refuses_keys_without_its_scope(service: Service) -> None:
    """Each scope that covers the needed one opens an operation, and all others together do not."""
    offenders = []
    for needed, routes in by_scope().items():
        covering = [scope for scope in SCOPES if covers([scope], needed)]
        limited = await with_scopes(service, *(scope for scope in SCOPES if scope not in covering))
        opening = [await with_scopes(service, scope) for scope in covering]
        for method, path in routes:
            refused = await call(limited, method, address(path, service))
            taken = [await call(opener, method, address(path, service)) for opener in opening]

            if (refused.status_code, refused.json()) != (403, denied(needed)) or 403 in [
                it.status_code for it in taken
            ]:
                offenders.append((method, path, needed, refused.text, *(it.text for it in taken)))

    assert offenders == []


def by_scope() -> dict[str, list[Route]]:
    """Return the operations that take a key, under the scope they need."""
    found: dict[str, list[Route]] = {}
    for route in private_routes():
        (needed,) = operations()[route]["security"][0]["PersonalAPIKey"]
        found.setdefault(needed, []).append(route)
    return found


@pytest.mark.parametrize("scope", SCOPES)
async def test_every_page_refuses_keys_without_the_scope_for_experiments(service: Service, scope: str) -> None:
    limited = await with_scopes(service, scope)

    answer = await sign_in(service.client, limited.key)

    opened = covers([scope], "experiment:read")
    assert answer.status_code == (303 if opened else 403)
    assert ("set-cookie" in answer.headers) is opened


@pytest.mark.parametrize(
    ("scopes", "are_named"), [(["experiment:read"], False), (["experiment:read", "project:read"], True)]
)
async def test_page_names_other_projects_to_keys_that_may_list_them(
    service: Service, client: httpx.AsyncClient, database: Database, scopes: list[str], *, are_named: bool
) -> None:
    neighbor = await new_service(client, database, beside=service)
    limited = await with_scopes(service, *scopes)

    page = await client.get(f"/experiments/{service.project_id}/", headers=await session_of(client, limited.key))

    assert page.status_code == 200
    assert (f"/experiments/{neighbor.project_id}/" in page.text) is are_named


@pytest.mark.parametrize(
    ("scopes", "shown"),
    [
        (["user:read"], (False, False)),
        (["user:read", "organization:read"], (True, False)),
        (["user:read", "project:read"], (False, True)),
        (["*"], (True, True)),
    ],
)
async def test_user_is_shown_with_what_the_key_may_read(
    service: Service, scopes: list[str], shown: tuple[bool, bool]
) -> None:
    me = (await call(await with_scopes(service, *scopes), "GET", "/api/users/@me/")).json()

    assert (bool(me["organizations"]), bool(me["team"])) == shown
    assert (me["organization"] is not None) is shown[0]
    assert me["email"] == service.email


async def test_key_with_read_scope_cannot_write(service: Service) -> None:
    experiment = await service.create_experiment()
    reader = await with_scopes(service, "experiment:read")

    answers = [
        await reader.get("/experiments/"),
        await reader.request("HEAD", f"/experiments/{experiment['id']}/"),
        await reader.request("OPTIONS", "/experiments/"),
        await reader.post("/experiments/", {"name": "Mine", "feature_flag_key": "mine"}),
        await reader.patch(f"/experiments/{experiment['id']}/", {"name": "Mine"}),
        await reader.delete(f"/experiments/{experiment['id']}/"),
        await reader.get("/feature_flags/"),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 204, 403, 403, 403, 403]
    assert answers[3].json() == denied("experiment:write")
    assert answers[6].json() == denied("feature_flag:read")
    assert await service.read("/experiments/") == answers[0].json()


async def test_write_scope_includes_read(service: Service) -> None:
    writer = await with_scopes(service, "feature_flag:write")

    made = await writer.post("/feature_flags/", {"key": "mine"})

    assert made.status_code == 201
    assert (await writer.get("/feature_flags/")).json()["results"] == [made.json()]
    assert (await writer.client.get("/flags/definitions", headers={"Authorization": f"Bearer {writer.key}"})).is_success


async def test_missing_scope_is_reported_before_the_project_is_checked(service: Service) -> None:
    reader = await with_scopes(service, "experiment:read")

    answers = [
        await call(reader, "POST", path, {})
        for path in ("/api/projects/999/experiments/", "/api/projects/one/actions/")
    ]

    assert [answer.json() for answer in answers] == [denied("experiment:write"), denied("action:write")]


async def test_limited_key_cannot_create_keys_with_more_scopes(service: Service) -> None:
    issuer = await with_scopes(service, "personal_api_key:write", "experiment:write")

    for scopes, status in [
        (["experiment:read"], 201),
        (["experiment:write", "personal_api_key:read"], 201),
        (["experiment:read", "feature_flag:read"], 403),
        (["*"], 403),
    ]:
        assert (await call(issuer, "POST", KEYS, {"label": "New", "scopes": scopes})).status_code == status
    unsaid = await call(issuer, "POST", KEYS, {"label": "New"})

    assert unsaid.json()["scopes"] == ["personal_api_key:write", "experiment:write"]


async def test_limited_key_sees_and_deletes_only_keys_that_it_covers(service: Service) -> None:
    manager = await with_scopes(service, "personal_api_key:write", "experiment:write")
    equal = await created(service, "personal_api_key:write", "experiment:read")
    wider = await created(service, "experiment:read", "feature_flag:read")

    listed = [key["id"] for key in (await call(manager, "GET", KEYS)).json()]
    answers = [await call(manager, method, f"{KEYS}{wider}/") for method in ("GET", "DELETE")]
    missing = await call(manager, "GET", f"{KEYS}2000000000/")
    removed = await call(manager, "DELETE", f"{KEYS}{equal}/")

    assert len(listed) == 2  # its own and the equal one; neither the wider one nor the one of the set-up
    assert equal in listed
    assert [(answer.status_code, answer.json()) for answer in answers] == [(404, missing.json())] * 2
    assert removed.status_code == 204
    assert wider in [key["id"] for key in (await call(service, "GET", KEYS)).json()]


async def created(service: Service, *scopes: str) -> str:
    key: str = (await call(service, "POST", KEYS, {"label": "x", "scopes": scopes})).json()["id"]
    return key


def test_list_of_scopes_is_read_up_to_its_first_error() -> None:
    with pytest.raises(ValidationError) as refused:
        PersonalApiKeyCreate.model_validate({"label": "x", "scopes": [None] * 1000})

    assert refused.value.error_count() == 1


@pytest.mark.parametrize(
    ("scopes", "code", "detail", "attr"),
    [
        (["experiment:delete"], "invalid_input", "Invalid scope: experiment:delete", "scopes"),
        (["*", "insight:read"], "invalid_input", "Invalid scope: insight:read", "scopes"),
        (["EXPERIMENT:READ"], "invalid_input", "Invalid scope: EXPERIMENT:READ", "scopes"),
        ([], "empty", "This list may not be empty.", "scopes"),
        (None, "null", "This field may not be null.", "scopes"),
        ("*", "not_a_list", 'Expected a list of items but got type "str".', "scopes"),
        ([None], "null", "This field may not be null.", "scopes__0"),
    ],
)
async def test_unknown_scopes_are_refused(service: Service, scopes: object, code: str, detail: str, attr: str) -> None:
    response = await call(service, "POST", KEYS, {"label": "New", "scopes": scopes})

    assert response.status_code == 400
    assert response.json() == {"type": "validation_error", "code": code, "detail": detail, "attr": attr}


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        (["*"], {"experiment:read": True, "experiment:write": True, "*": True}),
        (["experiment:read"], {"experiment:read": True, "experiment:write": False, "*": False}),
        (["experiment:write"], {"experiment:read": True, "experiment:write": True, "experiment": False}),
        (["event:read"], {"experiment:read": False, "event:write": False}),
        (list(SCOPES), {"*": False}),
        ([], {"user:read": False}),
    ],
)
def test_scopes_cover_what_they_name_and_write_covers_read(granted: list[str], allowed: Mapping[str, bool]) -> None:
    assert {needed: covers(granted, needed) for needed in allowed} == allowed
