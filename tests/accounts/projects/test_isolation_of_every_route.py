"""The same for every operation of the OpenAPI document, so that a new one cannot be forgotten.

An operation with an id that this file cannot make an object for fails: say how in ``make_objects``.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from tests.accounts.projects.test_isolation import NO_ACCESS, NO_PROJECT, NOT_FOUND
from tests.support.service import Json, Service, event

PROJECT = "/api/projects/{project_id}/"
CANARY = "canary"  # in whatever the neighbor has
DOCUMENT = create_app(Settings()).openapi()
OF_PROJECTS: list[tuple[str, str]] = [
    (method.upper(), path)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if path.startswith(PROJECT) and "security" in operation
]
OF_OBJECTS = [(method, path) for method, path in OF_PROJECTS if "{" in path.removeprefix(PROJECT)]
NO_IDS = [
    "999",
    "0",
    "-1",
    str(2**31),
    str(2**63),
    str(2**64),
    "9" * 5000,
    "1%00",
    "..%2f1",
    "%D9%A1",
    "@current",
    "1.5",
]


async def make_objects(service: Service, name: str) -> dict[str, str]:
    """Create one of everything that has an id, and return the ids by the names that paths use."""
    experiment = await service.create_experiment(name=name, feature_flag_key=name)
    step = {"name": name, "steps": [{"event": name}]}
    await service.capture(
        event(name, name, properties={"$set": {"note": name}}),
        {"event": "$groupidentify", "distinct_id": name, "properties": {"$group_type": name, "$group_key": name}},
    )
    snapshot = await service.post(f"/experiments/{experiment['id']}/snapshots/", {})
    return {
        "experiment_id": str(experiment["id"]),
        "snapshot_id": str(snapshot.json()["id"]),
        "feature_flag_id": str(experiment["feature_flag"]),
        "key": name,
        "action_id": str((await service.post("/actions/", step)).json()["id"]),
        "cohort_id": str((await service.post("/cohorts/", {"name": name, "is_static": True})).json()["id"]),
    }


async def state(service: Service) -> Mapping[str, Json]:
    """Return all that the API shows of a project and does not depend on the hour."""
    lists = [path for method, path in OF_PROJECTS if method == "GET" and "{" not in path.removeprefix(PROJECT)]
    needing_parameters = {"groups/": {"group_type_index": 0}}
    return {
        path: await service.get(
            "/" + path.removeprefix(PROJECT), **needing_parameters.get(path.removeprefix(PROJECT), {})
        )
        for path in lists
    }


def texts(found: Mapping[str, httpx.Response]) -> dict[str, str]:
    return {path: response.text for path, response in found.items()}


def example_of(method: str, path: str) -> Json:
    body = DOCUMENT["paths"][path][method.lower()].get("requestBody")
    return body and body["content"]["application/json"]["example"]


async def call(service: Service, method: str, path: str, ids: Mapping[str, str]) -> httpx.Response:
    return await service.client.request(
        method,
        path.format_map(ids),
        json=example_of(method, path),
        headers={"Authorization": f"Bearer {service.key}"},
    )


@pytest.mark.parametrize(("method", "path"), OF_OBJECTS)
async def test_what_another_project_has_does_not_exist(
    service: Service, neighbor: Service, stranger: Service, method: str, path: str
) -> None:
    for other in (neighbor, stranger):
        theirs = await make_objects(other, CANARY)
        before = texts(await state(other))
        assert sum(CANARY in text for text in before.values()) >= 7  # experiments, flags, actions, cohorts, events ...

        response = await call(service, method, path, {**theirs, "project_id": str(service.project_id)})

        assert (response.status_code, response.json()) == (404, NOT_FOUND)
        assert texts(await state(other)) == before
    assert CANARY not in "".join(texts(await state(service)).values())


@pytest.mark.parametrize(("method", "path"), OF_OBJECTS)
async def test_what_is_no_id_of_the_project_is_not_found(service: Service, method: str, path: str) -> None:
    own = await make_objects(service, "own")

    for name in (part.partition("}")[0] for part in path.removeprefix(PROJECT).split("{")[1:]):
        for reference in NO_IDS:
            ids = {**own, "project_id": str(service.project_id), name: reference}
            answer = await call(service, method, path, ids)
            assert answer.status_code == 404, (name, reference, answer.text)
            assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize(("method", "path"), OF_PROJECTS)
async def test_project_of_others_is_forbidden_and_unchanged(
    service: Service, stranger: Service, method: str, path: str
) -> None:
    theirs = await make_objects(stranger, CANARY)
    before = texts(await state(stranger))

    response = await call(service, method, path, {**theirs, "project_id": str(stranger.project_id)})
    nowhere = await call(service, method, path, {**theirs, "project_id": "999999"})

    assert (response.status_code, response.json()) == (403, NO_ACCESS)
    assert (nowhere.status_code, nowhere.json()) == (404, NO_PROJECT)
    assert texts(await state(stranger)) == before


BESIDE_PROJECTS = [
    (method.upper(), path)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if "{" in path and not path.startswith(PROJECT) and "security" in operation
]


@pytest.mark.parametrize(("method", "path"), BESIDE_PROJECTS)
async def test_keys_and_organizations_of_others_are_not_found(
    service: Service, stranger: Service, method: str, path: str
) -> None:
    async def own(which: Service, address: str) -> Json:
        return (await which.client.get(address, headers={"Authorization": f"Bearer {which.key}"})).json()

    theirs = {
        "key_id": (await own(stranger, "/api/personal_api_keys/"))[0]["id"],
        "organization_id": (await own(stranger, "/api/organizations/@current/"))["id"],
    }

    answers = [await call(service, method, path, theirs)]
    answers += [await call(service, method, path, dict.fromkeys(theirs, "999"))]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(404, NOT_FOUND)] * 2
    assert (await own(stranger, "/api/personal_api_keys/"))[0]["id"] == theirs["key_id"]


@pytest.mark.parametrize(("method", "path"), OF_PROJECTS)
async def test_without_a_personal_key_nothing_of_a_project_is_told(service: Service, method: str, path: str) -> None:
    own = await make_objects(service, CANARY)
    before = texts(await state(service))

    for key in ("", service.token, service.key[:-1]):
        response = await call(replace(service, key=key), method, path, {**own, "project_id": str(service.project_id)})
        assert response.status_code == 401
        assert CANARY not in response.text
    assert texts(await state(service)) == before


async def test_a_personal_key_is_no_token_for_events(service: Service) -> None:
    before = await service.read("/events/")

    answers = [
        await service.client.post("/batch/", json={"api_key": service.key, "batch": [event("visit", "ann")]}),
        await service.client.post("/e/", json={"token": service.key, **event("visit", "ann")}),
        await service.client.post("/flags/", json={"token": service.key, "distinct_id": "ann"}),
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert not [answer for answer in answers if service.key in answer.text]
    assert await service.read("/events/") == before


def references(ids: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    """Yield creations that refer to objects of another project from inside their bodies."""
    cohort = {"key": "id", "value": int(ids["cohort_id"]), "type": "cohort"}
    yield (
        "/feature_flags/",
        {"key": "mine", "filters": {"groups": [{"properties": [cohort], "rollout_percentage": 100}]}},
    )
    yield (
        "/experiments/",
        {
            "name": "Mine",
            "feature_flag_key": "mine",
            "start_date": "2022-11-01T00:00:00Z",
            "filters": {"insight": "TRENDS", "actions": [{"id": int(ids["action_id"]), "order": 0}]},
        },
    )
    yield (
        "/experiments/",
        {
            "name": "Mine",
            "feature_flag_key": "mine",
            "start_date": "2022-11-01T00:00:00Z",
            "filters": {"insight": "TRENDS", "events": [{"id": CANARY, "order": 0}], "properties": [cohort]},
        },
    )


async def test_references_in_bodies_do_not_reach_another_project(service: Service, neighbor: Service) -> None:
    theirs = await make_objects(neighbor, CANARY)
    before = texts(await state(neighbor))

    for path, body in references(theirs):
        answers = [await service.post(path, body)]
        if answers[0].status_code == 201 and path == "/experiments/":
            made = answers[0].json()["id"]
            answers.append(await service.get(f"/experiments/{made}/results/"))
            await service.delete(f"/experiments/{made}/")
        assert answers[-1].status_code == 400, answers[-1].text
        assert "canary" not in json.dumps([answer.json().get("detail") for answer in answers])
    assert texts(await state(neighbor)) == before
