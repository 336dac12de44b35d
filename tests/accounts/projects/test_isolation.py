"""A project has no access to the objects of another one."""

from collections.abc import Mapping
from dataclasses import replace

import httpx
import pytest

from app.accounts.projects.service import AccountService
from app.db.database import Database
from tests.support.service import Json, Service

pytestmark = pytest.mark.one_database

KEYS = "/api/personal_api_keys/"

NOT_FOUND = {"type": "invalid_request", "code": "not_found", "detail": "Not found.", "attr": None}
NO_PROJECT = {**NOT_FOUND, "detail": "Project not found."}


async def call(service: Service, method: str, path: str) -> httpx.Response:
    return await service.client.request(method, path, headers={"Authorization": f"Bearer {service.key}"})


OF_AN_EXPERIMENT = [
    ("GET", "/experiments/{id}/"),
    ("PATCH", "/experiments/{id}/"),
    ("DELETE", "/experiments/{id}/"),
    ("GET", "/experiments/{id}/results/"),
    ("GET", "/experiments/{id}/secondary_results/"),
    ("GET", "/experiments/{id}/activity/"),
    ("GET", "/experiments/{id}/snapshots/"),
    ("POST", "/experiments/{id}/snapshots/"),
    ("GET", "/experiments/{id}/snapshots/1/"),
    ("POST", "/experiments/{id}/launch/"),
    ("POST", "/experiments/{id}/end/"),
    ("POST", "/experiments/{id}/duplicate/"),
]
OF_A_FLAG = [
    *((method, "/feature_flags/{id}/") for method in ("GET", "PUT", "PATCH")),
    ("GET", "/feature_flags/{id}/activity/"),
]
OF_A_PROJECT = [
    ("GET", "/"),
    ("PATCH", "/"),
    ("GET", "/experiments/"),
    ("POST", "/experiments/"),
    ("GET", "/experiments/requires_flag_implementation/"),
    ("GET", "/experiments/activity/"),
    ("GET", "/feature_flags/"),
    ("GET", "/feature_flags/activity/"),
    ("POST", "/feature_flags/"),
    ("DELETE", "/feature_flags/{id}/"),  # it is refused whatever the id
]


async def test_objects_of_another_project_do_not_exist(service: Service, neighbor: Service) -> None:
    theirs = await neighbor.create_experiment()
    before = await everything_of(neighbor, theirs)

    answers = {
        (method, path): await service.request(method, path.format(id=id_in(path, theirs)), json={"key": "mine"})
        for method, path in [*OF_AN_EXPERIMENT, *OF_A_FLAG]
    }

    assert unlike(404, NOT_FOUND, answers) == []
    assert await everything_of(neighbor, theirs) == before
    assert (await service.read("/feature_flags/"))["results"] == []


async def test_project_of_another_organization_is_closed(service: Service, stranger: Service) -> None:
    theirs = await stranger.create_experiment()
    before = await everything_of(stranger, theirs)

    answers = {
        (method, path): await service.client.request(
            method,
            f"{stranger.project}{path.format(id=id_in(path, theirs))}",
            headers={"Authorization": f"Bearer {service.key}"},
            json={"name": "Mine", "key": "mine"},
        )
        for method, path in [*OF_A_PROJECT, *OF_AN_EXPERIMENT, *OF_A_FLAG]
    }

    assert unlike(404, NO_PROJECT, answers) == []
    assert await everything_of(stranger, theirs) == before


def id_in(path: str, experiment: Json) -> int:
    found: int = experiment["feature_flag" if path.startswith("/feature_flags/") else "id"]
    return found


async def everything_of(owner: Service, experiment: Json) -> list[Json]:
    return [await owner.read(path) for path in ("/", f"/experiments/{experiment['id']}/", "/feature_flags/")]


def unlike(status: int, body: Json, answers: Mapping[tuple[str, str], httpx.Response]) -> list[object]:
    """Return the operations that answered something else."""
    given = {operation: (answer.status_code, answer.json()) for operation, answer in answers.items()}
    return [(*operation, answer) for operation, answer in given.items() if answer != (status, body)]


NO_IDS = ["0", "-1", "999", "2147483648", "9223372036854775808", "9" * 5000, "1%00", "%D9%A1", "1.5", "one", "@current"]


@pytest.mark.parametrize("reference", NO_IDS)
async def test_invalid_ids_of_experiments_and_flags_are_not_found(service: Service, reference: str) -> None:
    await service.create_experiment()

    responses = [
        await service.request(method, path.format(id=reference)) for method, path in [*OF_AN_EXPERIMENT, *OF_A_FLAG]
    ]

    assert [(response.status_code, response.json()) for response in responses] == [(404, NOT_FOUND)] * len(responses)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [(number, NO_PROJECT) for number in ("0", "-1", "999", "2147483648", "9223372036854775808", "9" * 5000)]
    + [(text, NOT_FOUND) for text in ("1%00", "%D9%A1", "1_0", "1.5", "one", "@me", "%20")],
)
async def test_invalid_project_id_is_not_found(service: Service, reference: str, answer: object) -> None:
    headers = {"Authorization": f"Bearer {service.key}"}

    responses = [
        await service.client.request(method, f"/api/projects/{reference}{path.format(id=1)}", headers=headers)
        for method, path in [*OF_A_PROJECT, *OF_AN_EXPERIMENT, *OF_A_FLAG]
    ]

    assert [(response.status_code, response.json()) for response in responses] == [(404, answer)] * len(responses)


async def test_projects_do_not_share_lists_or_flag_keys(service: Service, neighbor: Service, stranger: Service) -> None:
    everybody = (service, neighbor, stranger)
    created = {each.project_id: await each.create_experiment(feature_flag_key="same") for each in everybody}

    lists = {each.project_id: await each.read("/experiments/") for each in everybody}
    flags = {each.project_id: await each.read("/feature_flags/") for each in everybody}

    assert lists == {
        project_id: {"count": 1, "next": None, "previous": None, "results": [experiment]}
        for project_id, experiment in created.items()
    }
    assert {project_id: [flag["id"] for flag in page["results"]] for project_id, page in flags.items()} == {
        project_id: [experiment["feature_flag"]] for project_id, experiment in created.items()
    }


async def test_key_of_another_user_is_not_found(service: Service, stranger: Service) -> None:
    (theirs,) = (await call(stranger, "GET", KEYS)).json()

    responses = [await call(service, method, f"{KEYS}{theirs['id']}/") for method in ("GET", "DELETE")]

    assert [(response.status_code, response.json()) for response in responses] == [(404, NOT_FOUND)] * 2
    assert theirs["id"] not in [key["id"] for key in (await call(service, "GET", KEYS)).json()]
    assert (await call(stranger, "GET", KEYS)).json() == [theirs]


@pytest.mark.parametrize("is_first_member", [True, False])
async def test_any_member_may_create_change_and_delete(
    service: Service, database: Database, *, is_first_member: bool
) -> None:
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name="Blog",
            email=f"carl-{service.email}",
            organization_name=service.organization,
            joins=True,
            timezone="UTC",
        )
    member = service if is_first_member else replace(service, key=made.personal_api_key)
    theirs = await service.create_experiment()

    experiment = await member.create_experiment(feature_flag_key="other")
    flag = await member.post("/feature_flags/", {"key": "third"})
    statuses = [
        (await member.patch(f"/experiments/{theirs['id']}/", {"name": "New"})).status_code,
        (await member.patch(f"/feature_flags/{theirs['feature_flag']}/", {"name": "New"})).status_code,
        (await member.patch(f"/feature_flags/{flag.json()['id']}/", {"deleted": True})).status_code,
        (await member.delete(f"/experiments/{theirs['id']}/")).status_code,
        (await member.delete(f"/experiments/{experiment['id']}/")).status_code,
    ]

    assert flag.status_code == 201
    assert flag.json()["created_by"]["email"] == (service.email if is_first_member else f"carl-{service.email}")
    assert statuses == [200, 200, 200, 204, 204]
