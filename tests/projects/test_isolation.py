"""Nothing of one project is seen or touched through another."""

import pytest

from tests.service import Service

NOT_FOUND = {"type": "invalid_request", "code": "not_found", "detail": "Not found.", "attr": None}
NO_PROJECT = {**NOT_FOUND, "detail": "Project not found."}
NO_ACCESS = {
    "type": "authentication_error",
    "code": "permission_denied",
    "detail": "You don't have access to the project.",
    "attr": None,
}

OF_AN_EXPERIMENT = [
    ("GET", "/experiments/{id}/"),
    ("PATCH", "/experiments/{id}/"),
    ("DELETE", "/experiments/{id}/"),
    ("GET", "/experiments/{id}/results/"),
    ("GET", "/experiments/{id}/secondary_results/"),
]
OF_A_PROJECT = [
    ("GET", "/"),
    ("PATCH", "/"),
    ("GET", "/experiments/"),
    ("POST", "/experiments/"),
    ("GET", "/experiments/requires_flag_implementation/"),
]


@pytest.mark.parametrize(("method", "path"), OF_AN_EXPERIMENT)
async def test_an_experiment_of_another_project_does_not_exist(
    service: Service, neighbour: Service, method: str, path: str
) -> None:
    theirs = await neighbour.create_experiment()

    response = await service.request(method, path.format(id=theirs["id"]))

    assert (response.status_code, response.json()) == (404, NOT_FOUND)
    assert await neighbour.read(f"/experiments/{theirs['id']}/") == theirs


NO_IDS = ["0", "-1", "999", "2147483648", "9223372036854775808", "9" * 5000, "1%00", "%D9%A1", "1.5", "one", "@current"]


@pytest.mark.parametrize("reference", NO_IDS)
async def test_what_names_no_experiment_is_not_found(service: Service, reference: str) -> None:
    await service.create_experiment()

    responses = [await service.request(method, path.format(id=reference)) for method, path in OF_AN_EXPERIMENT]

    assert [(response.status_code, response.json()) for response in responses] == [(404, NOT_FOUND)] * len(responses)


@pytest.mark.parametrize(("method", "path"), [*OF_A_PROJECT, *OF_AN_EXPERIMENT])
async def test_a_project_of_another_organization_is_closed(
    service: Service, stranger: Service, method: str, path: str
) -> None:
    theirs = await stranger.create_experiment()
    before = await stranger.read("/")

    response = await service.client.request(
        method,
        f"{stranger.project}{path.format(id=theirs['id'])}",
        headers={"Authorization": f"Bearer {service.key}"},
        json={"name": "Mine"},
    )

    assert (response.status_code, response.json()) == (403, NO_ACCESS)
    assert await stranger.read("/") == before
    assert await stranger.read(f"/experiments/{theirs['id']}/") == theirs


@pytest.mark.parametrize(
    ("reference", "answer"),
    [(number, NO_PROJECT) for number in ("0", "-1", "999", "2147483648", "9223372036854775808", "9" * 5000)]
    + [(text, NOT_FOUND) for text in ("1%00", "%D9%A1", "1_0", "1.5", "one", "@me", "%20")],
)
async def test_what_names_no_project_is_not_found(service: Service, reference: str, answer: object) -> None:
    headers = {"Authorization": f"Bearer {service.key}"}

    responses = [
        await service.client.request(method, f"/api/projects/{reference}{path.format(id=1)}", headers=headers)
        for method, path in [*OF_A_PROJECT, *OF_AN_EXPERIMENT]
    ]

    assert [(response.status_code, response.json()) for response in responses] == [(404, answer)] * len(responses)


async def test_projects_share_no_list_and_no_flag_key(service: Service, neighbour: Service, stranger: Service) -> None:
    everybody = (service, neighbour, stranger)
    created = {each.project_id: await each.create_experiment(feature_flag_key="same") for each in everybody}

    lists = {each.project_id: await each.read("/experiments/") for each in everybody}

    assert lists == {
        project_id: {"count": 1, "next": None, "previous": None, "results": [experiment]}
        for project_id, experiment in created.items()
    }
