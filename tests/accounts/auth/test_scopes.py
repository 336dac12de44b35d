"""Scopes of keys: each private route requires one, and refuses a key without it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import httpx
import pytest
from fastapi.routing import APIRoute

from app.accounts.auth.dependencies import required_scope
from app.accounts.auth.scopes import SCOPES, ScopeObject, covers
from app.http.routing import is_general
from app.main import PRIVATE_ROUTERS
from tests.support.application import operations, private_routes
from tests.support.service import Service

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
        changes_nothing = method == "GET" or path.endswith(("/analyze/", "/power/"))
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
    """A key that may do all but one thing, with every operation: only those that need that thing are closed."""
    offenders = []
    for name in get_args(ScopeObject):
        limited = await with_scopes(service, *(scope for scope in SCOPES if not scope.startswith(f"{name}:")))
        for method, path in private_routes():
            (needed,) = operations()[method, path]["security"][0]["PersonalAPIKey"]

            response = await call(limited, method, address(path, service))

            refusal = response.json() if response.status_code == 403 else None
            if refusal != (denied(needed) if needed.startswith(f"{name}:") else None):
                offenders.append((name, method, path, response.status_code, response.text))

    assert offenders == []


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
