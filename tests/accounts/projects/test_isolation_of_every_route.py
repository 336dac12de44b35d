"""The same for every operation of the OpenAPI document, so that a new one cannot be forgotten.

An operation with an id that ``make_objects`` makes no object for fails: say there how.

A refused call changes nothing. The state of a project is therefore read once before and once after all calls; only when
it differs are they repeated, with a new project for each half, until the operation that changed it is found.
"""

import json
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import httpx
import pytest

from app.db.database import Database
from tests.accounts.projects.test_isolation import NO_PROJECT, NOT_FOUND
from tests.conftest import new_service
from tests.support.application import PROJECT, Route, private_routes, routes_of_objects, routes_of_projects
from tests.support.one_of_everything import answer, call, make_objects, shown
from tests.support.programs import EVERYTHING
from tests.support.service import Json, Service, event

CANARY = "canary"  # in whatever the neighbor has
STEP = 1 if os.environ.get(EVERYTHING) else 3  # where people wait, each place gets every third, others than the last
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

pytestmark = pytest.mark.one_database

Offenders: TypeAlias = list[object]
# Calls each route, which has to be refused, for the objects of a project; returns those that were not.
Calls: TypeAlias = Callable[[Service, Sequence[Route], Mapping[str, str]], Awaitable[Offenders]]
NewProject: TypeAlias = Callable[[], Awaitable[Service]]


@pytest.fixture(params=["neighbor", "stranger"])
def new_project(
    request: pytest.FixtureRequest, service: Service, client: httpx.AsyncClient, database: Database
) -> NewProject:
    """Make a project of the same user and organization, or of others."""
    beside = service if request.param == "neighbor" else None
    return lambda: new_service(client, database, beside=beside)


@pytest.fixture
def new_stranger(client: httpx.AsyncClient, database: Database) -> NewProject:
    return lambda: new_service(client, database)


async def find_offenders(new_project: NewProject, routes: Sequence[Route], calls: Calls) -> Offenders:
    """Return which routes were not refused, or changed a project that is not theirs."""
    assert routes
    owner = await new_project()
    ids = await make_objects(owner, CANARY)
    before = await shown(owner)
    assert sum(CANARY in text for text in before.values()) >= 7  # experiments, flags, actions, cohorts, events ...

    offenders = await calls(owner, routes, ids)

    after = await shown(owner)
    changed = [path for path in before if before[path] != after[path]]
    if changed and len(routes) > 1:
        halves = (routes[: len(routes) // 2], routes[len(routes) // 2 :])
        found = [offender for half in halves for offender in await find_offenders(new_project, half, calls)]
        offenders += found or [("together", str(routes), "changed", changed)]
    elif changed:
        offenders.append((*routes[0], "changed", changed))
    return offenders


async def test_objects_of_another_project_are_not_found(service: Service, new_project: NewProject) -> None:
    async def calls(owner: Service, routes: Sequence[Route], ids: Mapping[str, str]) -> Offenders:
        within_own = {**ids, "project_id": str(service.project_id)}
        answers = {route: answer(await call(service, route, within_own)) for route in routes}
        return [(*route, given) for route, given in answers.items() if given != (404, NOT_FOUND)]

    assert await find_offenders(new_project, routes_of_objects(), calls) == []
    assert CANARY not in "".join((await shown(service)).values())


def shape(response: httpx.Response) -> object:
    """Return all that a caller sees of an answer."""
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    return (response.status_code, response.text, headers)


async def test_project_of_others_is_closed_and_unchanged(service: Service, new_stranger: NewProject) -> None:
    async def calls(owner: Service, routes: Sequence[Route], ids: Mapping[str, str]) -> Offenders:
        offenders: Offenders = []
        for route in routes:
            given = await call(service, route, ids)
            nowhere = await call(service, route, {**ids, "project_id": "2000000000"})
            if answer(given) != (404, NO_PROJECT) or shape(given) != shape(nowhere):
                offenders.append((*route, shape(given), shape(nowhere)))
        return offenders

    assert await find_offenders(new_stranger, routes_of_projects(), calls) == []


async def test_request_without_a_personal_key_learns_nothing_of_a_project(
    new_stranger: NewProject,
) -> None:
    async def calls(owner: Service, routes: Sequence[Route], ids: Mapping[str, str]) -> Offenders:
        offenders: Offenders = []
        for key in ("", owner.token, owner.key[:-1]):
            for route in routes:
                response = await call(replace(owner, key=key), route, ids)
                if response.status_code != 401 or CANARY in response.text:
                    offenders.append((*route, key, answer(response)))
        return offenders

    assert await find_offenders(new_stranger, routes_of_projects(), calls) == []


@pytest.mark.one_database("postgresql")  # which refuses numbers and characters that SQLite takes
async def test_invalid_ids_are_not_found(service: Service) -> None:
    own = await make_objects(service, "own")
    before = await shown(service)
    offenders = []

    places = [(route, name) for route in routes_of_objects() for name in re.findall(r"{(\w+)}", route[1])[1:]]
    for number, (route, name) in enumerate(places):
        for reference in NO_IDS[number % STEP :: STEP]:
            response = await call(service, route, {**own, name: reference})
            if response.status_code != 404 or response.json()["code"] != "not_found":
                offenders.append((*route, name, reference, answer(response)))

    assert offenders == []
    assert await shown(service) == before


async def test_keys_and_organizations_of_others_do_not_exist(service: Service, stranger: Service) -> None:
    async def own(which: Service, address: str) -> Json:
        return (await which.client.get(address, headers={"Authorization": f"Bearer {which.key}"})).json()

    keys = await own(stranger, "/api/personal_api_keys/")
    theirs = {
        "key_id": keys[0]["id"],
        "organization_id": (await own(stranger, "/api/organizations/@current/"))["id"],
    }
    routes = [(method, path) for method, path in private_routes() if "{" in path and not path.startswith(PROJECT)]
    assert len(routes) >= 4

    answers = {
        (*route, reference["key_id"]): answer(await call(service, route, reference))
        for route in routes
        for reference in (theirs, dict.fromkeys(theirs, "999"))
    }

    assert [(*asked, given) for asked, given in answers.items() if given != (404, NOT_FOUND)] == []
    assert await own(stranger, "/api/personal_api_keys/") == keys


async def test_personal_key_is_not_a_token_for_events(service: Service) -> None:
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
    before = await shown(neighbor)

    for path, body in references(theirs):
        answers = [await service.post(path, body)]
        if answers[0].status_code == 201 and path == "/experiments/":
            made = answers[0].json()["id"]
            answers.append(await service.get(f"/experiments/{made}/results/"))
            await service.delete(f"/experiments/{made}/")
        assert answers[-1].status_code == 400, answers[-1].text
        assert "canary" not in json.dumps([answer.json().get("detail") for answer in answers])
    assert await shown(neighbor) == before
