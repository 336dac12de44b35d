"""The OpenAPI document, for readers of /docs and client generators."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.experiments.results.examples import FUNNEL_RESULTS_EXAMPLE, TREND_RESULTS_EXAMPLE
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.main import TAGS
from app.statistics.posthog_2022.funnel import evaluate_funnel
from app.statistics.posthog_2022.trend import TrendVariant, evaluate_trend
from app.statistics.variants import FunnelVariant
from tests.support.application import application, operations, takes_json
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

JsonDict = dict[str, Any]  # a piece of OpenAPI
JSON = "application/json"
OPERATIONS = {operation["operationId"]: operation for operation in operations().values()}


def successes(operation: JsonDict) -> Iterator[JsonDict]:
    return (answer for status, answer in operation["responses"].items() if status in {"200", "201"})


def examples(media: JsonDict) -> list[object]:
    return [media["example"]] if "example" in media else [one["value"] for one in media["examples"].values()]


def unlike(rule: Callable[[JsonDict], bool]) -> list[str]:
    """Return the names of the operations that a rule does not hold for."""
    return [name for name, operation in OPERATIONS.items() if not rule(operation)]


def test_every_operation_says_what_it_does() -> None:
    def says(operation: JsonDict) -> bool:
        ends = operation["description"].strip().endswith(".") and not operation["summary"].endswith(".")
        return bool(operation["summary"]) and ends and operation["operationId"].isidentifier()

    assert unlike(says) == []


def test_every_operation_has_a_name_of_its_own() -> None:
    assert len(OPERATIONS) == len(operations())


def test_every_tag_is_introduced_and_used() -> None:
    described = application().openapi()["tags"]
    introduced = [tag["name"] for tag in described]

    assert described == TAGS
    assert len(set(introduced)) == len(introduced)
    assert all(tag["description"] for tag in described)
    assert {name for operation in OPERATIONS.values() for name in operation["tags"]} == set(introduced)
    assert all(len(operation["tags"]) == 1 for operation in OPERATIONS.values())


def test_every_parameter_is_explained() -> None:
    assert (
        unlike(lambda operation: all(parameter["description"] for parameter in operation.get("parameters", []))) == []
    )


def test_every_refusal_is_documented_with_the_one_body() -> None:
    def is_documented(operation: JsonDict) -> bool:
        refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        body = {"$ref": "#/components/schemas/ErrorBody"}
        if operation["operationId"].endswith("_for_openfeature"):  # whose protocol has a form of its own
            own = [refusals.pop(status)["content"][JSON]["schema"] for status in ("400", "404") if status in refusals]
            return all("errorCode" in schema["properties"] for schema in own) and refusals.keys() >= {"401", "503"}
        return refusals.keys() >= {"400", "401", "503"} and all(
            answer["description"] and answer["content"][JSON]["schema"] == body for answer in refusals.values()
        )

    assert unlike(is_documented) == []


def test_every_body_has_an_example() -> None:
    def has_examples(operation: JsonDict) -> bool:
        bodies = [operation.get("requestBody", {}), *successes(operation)]
        return all(examples(body["content"][JSON]) for body in bodies if JSON in body.get("content", {}))

    assert unlike(has_examples) == []


def test_authorize_sends_the_key_where_one_is_taken() -> None:
    assert application().openapi()["components"]["securitySchemes"]["PersonalAPIKey"] == {
        "type": "http",
        "scheme": "bearer",
        "description": "A personal API key, `phx_…`.",
    }
    taking = {name for name, operation in OPERATIONS.items() if "security" in operation}
    public = {"Capture", "Flags for SDKs"}
    open_to_all = {name for name, operation in OPERATIONS.items() if operation["tags"][0] in public} - taking
    assert taking | open_to_all == OPERATIONS.keys()
    assert "retrieve_flag_definitions" in taking
    assert "evaluate_flags" in open_to_all


def test_example_of_a_funnel_is_consistent() -> None:
    results = FunnelResultsRead.model_validate(FUNNEL_RESULTS_EXAMPLE)

    verdict = evaluate_funnel([FunnelVariant(**variant.model_dump()) for variant in results.variants])
    assert results.model_dump(mode="json") == FUNNEL_RESULTS_EXAMPLE
    assert results.probability == dict(verdict.probability)
    assert results.credible_intervals == dict(verdict.credible_intervals)
    assert (results.significant, results.significance_code) == (verdict.significant, verdict.significance_code)
    assert results.expected_loss == verdict.expected_loss
    for variant, (first, last) in zip(results.variants, results.insight, strict=True):
        assert (first.breakdown, last.count) == ([variant.key], variant.success_count)
        assert first.count == variant.success_count + variant.failure_count


def test_example_of_a_trend_is_consistent() -> None:
    results = TrendResultsRead.model_validate(TREND_RESULTS_EXAMPLE)

    verdict = evaluate_trend([TrendVariant(**variant.model_dump()) for variant in results.variants])
    assert results.model_dump(mode="json") == TREND_RESULTS_EXAMPLE
    assert results.probability == dict(verdict.probability)
    assert results.credible_intervals == dict(verdict.credible_intervals)
    assert (results.significant, results.significance_code) == (verdict.significant, verdict.significance_code)
    assert results.p_value == verdict.p_value
    counts = {variant.key: variant.count for variant in results.variants}
    for series in results.insight:
        assert series.data[-1] == series.count == counts[series.breakdown_value]


async def test_example_requests_are_accepted(service: Service) -> None:
    """What is created comes first, and may be changed then."""
    order = {"POST": 0, "PUT": 1, "PATCH": 2}
    written = sorted(
        (order[method], path, method, operation["requestBody"]["content"][JSON]["example"])
        for (method, path), operation in operations().items()
        if takes_json((method, path)) and "security" in operation
    )
    await service.capture(event("visit", "ann"))
    [person] = (await service.read("/persons/"))["results"]
    ids: dict[str, str] = {"project_id": str(service.project_id), "person_id": person["uuid"]}
    headers = {"Authorization": f"Bearer {service.key}"}

    for _, path, method, body in written:
        response = await service.client.request(method, path.format(**ids), json=body, headers=headers)

        documented = operations()[method, path]["responses"]
        assert response.status_code == int(min(documented)), (method, path, response.text)
        shown = documented[str(response.status_code)]
        if not response.content:
            assert "content" not in shown, (method, path)
            continue
        answered = response.json()
        if "id" in answered and response.status_code == 201:
            name = path.split("/")[-2].removesuffix("s").removeprefix("experiment_")
            ids[f"{name}_id"] = str(answered["id"])
            ids["project_id"] = str(service.project_id)
            if path.endswith("/experiments/"):
                assert (await service.post(f"/experiments/{answered['id']}/launch/", {})).status_code == 200
        assert answered.keys() == shown["content"][JSON]["example"].keys()
