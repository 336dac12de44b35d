"""The calls that the documentation of the 2022 API shows, written as it writes them."""

import argparse
import shlex

import httpx
import pytest

from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

HOST = "https://abacus.example"
ADDRESS = f"{HOST}/api/projects/$PROJECT_ID/experiments/"
CURL = argparse.ArgumentParser()
CURL.add_argument("url")
CURL.add_argument("-X", dest="method")
CURL.add_argument("-H", dest="headers", action="append", default=[])
CURL.add_argument("-d", dest="data", action="append", default=[])


async def run(service: Service, command: str) -> httpx.Response:
    """Send what curl would: several ``-d`` make one body, which is a form unless a header says otherwise."""
    variables = {"$POSTHOG_PERSONAL_API_KEY": service.key, "$PROJECT_ID": str(service.project_id)}
    for name, value in variables.items():
        command = command.replace(name, value)
    name, *arguments = shlex.split(command)
    assert name == "curl"
    asked = CURL.parse_args(arguments)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if asked.data else {}
    headers |= dict(header.split(": ", 1) for header in asked.headers)
    return await service.client.request(
        asked.method or ("POST" if asked.data else "GET"),
        asked.url.removeprefix(HOST),
        headers=headers,
        content="&".join(asked.data),
    )


@pytest.fixture
async def experiment_id(service: Service) -> int:
    """An experiment with results."""
    purchases = {"insight": "TRENDS", "events": [{"id": "purchase", "order": 0}]}
    experiment = await service.create_experiment(secondary_metrics=[{"name": "Purchases", "filters": purchases}])
    await service.capture(
        *(
            event(name, f"{variant}-{number}", f"2022-11-02T{hour}:00:00Z", variant=variant)
            for variant, buyers in (("control", 2), ("test", 3))
            for number in range(10)
            for hour, name in ((10, "$pageview"), (11, "purchase"))
            if name == "$pageview" or number < buyers
        )
    )
    found: int = experiment["id"]
    return found


READ = 'curl -H "Authorization: Bearer $POSTHOG_PERSONAL_API_KEY" '
WRITE = "curl -H 'Content-Type: application/json' " + READ.removeprefix("curl ")


async def test_example_of_list_answers(service: Service, experiment_id: int) -> None:
    answer = await run(service, f"{READ} {ADDRESS}")

    assert answer.status_code == 200
    assert (answer.json()["count"], answer.json()["results"][0]["id"]) == (1, experiment_id)


async def test_example_of_retrieve_answers(service: Service, experiment_id: int) -> None:
    answer = await run(service, f"{READ} {ADDRESS}{experiment_id}/")

    assert (answer.status_code, answer.json()["name"]) == (200, "Checkout button")


async def test_example_of_patch_answers(service: Service, experiment_id: int) -> None:
    answer = await run(service, f'{READ} -X PATCH {ADDRESS}{experiment_id}/ -d name="string" -d archived="true"')

    assert answer.status_code == 200, answer.text
    assert (answer.json()["name"], answer.json()["archived"]) == ("string", True)
    assert answer.json()["feature_flag_key"] == "checkout"


async def test_example_of_delete_answers(service: Service, experiment_id: int) -> None:
    answer = await run(service, f"{READ} -X DELETE {ADDRESS}{experiment_id}/")

    assert (answer.status_code, answer.content) == (204, b"")
    assert (await run(service, f"{READ} {ADDRESS}{experiment_id}/")).status_code == 404


async def test_example_of_results_answers(service: Service, experiment_id: int) -> None:
    answer = await run(service, f"{READ} {ADDRESS}{experiment_id}/results/")

    assert answer.status_code == 200, answer.text
    assert answer.json()["variants"] == [
        {"key": "control", "success_count": 2, "failure_count": 8},
        {"key": "test", "success_count": 3, "failure_count": 7},
    ]


async def test_example_of_secondary_results_answers(service: Service, experiment_id: int) -> None:
    answer = await run(service, f"{READ} '{ADDRESS}{experiment_id}/secondary_results/?id=0'")

    assert (answer.status_code, answer.json()) == (200, {"result": {"control": 2.0, "test": 3.0}})


async def test_example_of_requires_flag_implementation_answers(service: Service) -> None:
    answer = await run(service, f"{READ} {ADDRESS}requires_flag_implementation/")

    assert (answer.status_code, answer.json()) == (200, {"result": True})


async def test_create_with_form_fields_and_a_metric_answers(service: Service) -> None:
    filters = '\'filters={"insight": "TRENDS", "events": [{"id": "purchase"}]}\''
    answer = await run(service, f'{READ} -X POST {ADDRESS} -d name="string" -d feature_flag_key="string" -d {filters}')

    assert answer.status_code == 201, answer.text
    assert answer.json()["filters"] == {"insight": "TRENDS", "events": [{"id": "purchase"}]}


async def test_example_of_create_lacks_a_metric(service: Service) -> None:
    answer = await run(service, f'{READ} -X POST {ADDRESS} -d name="string" -d feature_flag_key="string"')

    assert answer.status_code == 400
    assert answer.json()["detail"] == "Filters are required to create an Experiment"


@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("PATCH", "1/")])
async def test_form_fields_under_a_json_header_are_told_what_is_wrong(
    service: Service, experiment_id: int, method: str, path: str
) -> None:
    path = path.replace("1", str(experiment_id))
    answer = await run(service, f'{WRITE} -X {method} {ADDRESS}{path} -d name="string" -d feature_flag_key="string"')

    assert answer.status_code == 400
    assert answer.json() == {
        "type": "invalid_request",
        "code": "parse_error",
        "detail": "JSON parse error - Expecting value: line 1 column 1 (char 0); the body looks like form fields:"
        " send JSON, or name its type application/x-www-form-urlencoded",
        "attr": None,
    }
