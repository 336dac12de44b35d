"""The errors and requests that /docs shows: what it says is answered is answered, to the letter."""

from typing import Any

import httpx
import pytest

from tests.accounts.auth.test_scopes import with_scopes
from tests.support.application import PROJECT, Route, application, example_body, operations, private_routes, takes_json
from tests.support.one_of_everything import make_objects
from tests.support.service import Json, Service

pytestmark = pytest.mark.one_database

UNKNOWN = {"experiment_id", "snapshot_id", "feature_flag_id", "action_id", "cohort_id", "key_id"}
PUBLIC = [route for route in operations() if route not in private_routes()]


def shown(route: Route, status: int) -> Json:
    return operations()[route]["responses"][str(status)]["content"]["application/json"]["example"]


async def ids_of(service: Service) -> dict[str, str]:
    return {**await make_objects(service, "one"), "organization_id": "@current", "key_id": "1", "token": service.token}


async def test_refused_callers_get_the_documented_answers(service: Service) -> None:
    ids = await ids_of(service)
    unable = await with_scopes(service, "event:write")
    able = {"Authorization": f"Bearer {service.key}"}

    for route in private_routes():
        method, path = route
        address = path.format_map(ids)

        async def answer(headers: dict[str, str], method: str = method, address: str = address) -> tuple[int, Json]:
            response = await service.client.request(method, address, headers=headers)
            return response.status_code, response.json()

        assert await answer({}) == (401, shown(route, 401)), route
        if operations()[route]["security"][0]["PersonalAPIKey"] not in (["event:read"], ["event:write"]):
            assert await answer({"Authorization": f"Bearer {unable.key}"}) == (403, shown(route, 403)), route
        assert await answer({**able, "Accept": "text/html"}) == (406, shown(route, 406)), route
        trace = await service.client.request("TRACE", address, headers=able)
        assert (trace.status_code, trace.json()) == (405, shown(route, 405)), route


async def test_unknown_objects_get_the_documented_answer(service: Service) -> None:
    ids = {**await ids_of(service), **dict.fromkeys(UNKNOWN, "999999")}
    headers = {"Authorization": f"Bearer {service.key}"}

    for route in private_routes():
        method, path = route
        if any(f"{{{name}}}" in path for name in UNKNOWN) and not path.endswith("/activity/"):
            response = await service.client.request(
                method, path.format_map(ids), json=example_body(route), headers=headers
            )
            assert (response.status_code, response.json()) == (404, shown(route, 404)), route


async def invalid(service: Service, route: Route, ids: dict[str, str]) -> httpx.Response:
    """Send the least that is refused as the example of 400 shows."""
    method, path = route
    headers = {"Authorization": f"Bearer {service.key}"}
    if shown(route, 400)["code"] == "unknown_parameter":
        return await service.client.request(method, f"{path.format_map(ids)}?colour=red", headers=headers)
    if shown(route, 400)["code"] == "invalid_host":
        return await service.client.request(method, path.format_map(ids), headers={**headers, "Host": "["})
    content = b"null!" if shown(route, 400)["code"] == "malformed_data" else b"{}"
    sent = {**headers, "Content-Type": "application/json"}
    return await service.client.request(method, path.format_map(ids), content=content, headers=sent)


async def test_invalid_requests_get_the_documented_answers(service: Service) -> None:
    ids = await ids_of(service)

    for route in operations():
        if shown(route, 400)["code"] == "malformed_data":
            continue  # the text names the place where the body is malformed
        answer = await invalid(service, route, ids)
        assert (answer.status_code, answer.json()) == (400, shown(route, 400)), route


async def test_body_of_another_type_gets_the_documented_answer(service: Service) -> None:
    headers = {"Authorization": f"Bearer {service.key}", "Content-Type": "text/plain"}
    ids = await ids_of(service)

    for route in private_routes():
        if takes_json(route):
            answer = await service.client.request(*(route[0], route[1].format_map(ids)), content=b"{}", headers=headers)
            assert (answer.status_code, answer.json()) == (415, shown(route, 415)), route


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_example_of_a_change_fits_the_example_of_the_creation(service: Service, method: str) -> None:
    """A reader sends the example of POST, takes the id, and sends the example of the change: nothing else."""
    headers = {"Authorization": f"Bearer {service.key}"}
    tried = 0

    for route in private_routes():
        parent = route[1].rpartition("{")[0]
        if route[0] != method or ("POST", parent) not in operations():
            continue
        created = await service.client.post(
            parent.format(project_id=service.project_id), json=example_body(("POST", parent)), headers=headers
        )
        address = f"{parent.format(project_id=service.project_id)}{created.json()['id']}/"
        changed = await service.client.request(method, address, json=example_body(route), headers=headers)
        assert (created.status_code, changed.status_code) == (201, 200), (route, changed.text)
        tried += 1

    assert tried >= 4


async def test_example_requests_of_sdks_are_accepted(service: Service) -> None:
    assert (await service.post("/feature_flags/", {"key": "checkout", "filters": {"groups": []}})).status_code == 201
    for route in PUBLIC:
        method, path = route
        body: Any = example_body(route)
        if body is None:
            continue
        held = {name: service.token for name in ("token", "api_key") if name in body}
        headers = {} if held else {"X-API-Key": service.token}
        answer = await service.client.request(
            method, path.format(key="checkout"), json={**body, **held}, headers=headers
        )
        assert answer.status_code == 200, (route, answer.text)


def test_parameters_say_what_they_take() -> None:
    """Ids are numbers, and what is refused without is required."""
    schemas = {
        (path, one["name"]): one
        for (_, path), operation in operations().items()
        for one in operation.get("parameters", [])
    }
    for (path, name), parameter in schemas.items():
        if name in UNKNOWN - {"key_id"}:
            assert parameter["schema"]["type"] == "integer", path
    for path, name in (("experiments/{experiment_id}/secondary_results/", "id"), ("groups/", "group_type_index")):
        parameter = schemas[f"{PROJECT}{path}", name]
        assert (parameter["required"], parameter["schema"]["type"]) == (True, "integer")
        assert "x-required" not in parameter["schema"]


def test_funnel_and_trend_results_are_told_apart_by_a_field() -> None:
    route = ("GET", f"{PROJECT}experiments/{{experiment_id}}/results/")
    media = operations()[route]["responses"]["200"]["content"]["application/json"]

    assert media["schema"]["discriminator"] == {
        "propertyName": "kind",
        "mapping": {"funnel": "#/components/schemas/FunnelAnswer", "trend": "#/components/schemas/TrendAnswer"},
    }
    schemas = application().openapi()["components"]["schemas"]
    for kind, example in media["examples"].items():
        name = media["schema"]["discriminator"]["mapping"][kind].rpartition("/")[2]
        assert example["value"]["kind"] == kind
        assert example["value"].keys() == schemas[name]["properties"].keys()
