"""The OpenAPI document, for readers of /docs and client generators."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from app.experiments.results.examples import FUNNEL_RESULTS_EXAMPLE, TREND_RESULTS_EXAMPLE
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.main import TAGS, create_app
from app.settings import Settings
from app.statistics.posthog_2022.funnel import evaluate_funnel
from app.statistics.posthog_2022.trend import TrendVariant, evaluate_trend
from app.statistics.variants import FunnelVariant
from tests.support.service import Service

JsonDict = dict[str, Any]  # a piece of OpenAPI
JSON = "application/json"
DOCUMENT = create_app(Settings()).openapi()
OPERATIONS = {
    operation["operationId"]: operation
    for operations in DOCUMENT["paths"].values()
    for operation in operations.values()
}
EACH_OPERATION = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def successes(operation: JsonDict) -> Iterator[JsonDict]:
    return (answer for status, answer in operation["responses"].items() if status in {"200", "201"})


def examples(media: JsonDict) -> list[object]:
    return [media["example"]] if "example" in media else [one["value"] for one in media["examples"].values()]


@EACH_OPERATION
def test_every_operation_has_a_description(operation: JsonDict) -> None:
    assert operation["summary"]
    assert not operation["summary"].endswith(".")
    assert operation["description"].strip().endswith(".")
    assert operation["operationId"].isidentifier()


def test_every_operation_has_a_unique_id() -> None:
    assert len(OPERATIONS) == sum(len(operations) for operations in DOCUMENT["paths"].values())


def test_every_tag_is_described_and_used() -> None:
    introduced = [tag["name"] for tag in DOCUMENT["tags"]]

    assert DOCUMENT["tags"] == TAGS
    assert len(set(introduced)) == len(introduced)
    assert all(tag["description"] for tag in DOCUMENT["tags"])
    assert {name for operation in OPERATIONS.values() for name in operation["tags"]} == set(introduced)
    assert all(len(operation["tags"]) == 1 for operation in OPERATIONS.values())


@EACH_OPERATION
def test_every_parameter_is_explained(operation: JsonDict) -> None:
    for parameter in operation.get("parameters", []):
        assert parameter["description"], parameter["name"]


@EACH_OPERATION
def test_every_error_is_documented_with_the_error_body(operation: JsonDict) -> None:
    refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}

    assert refusals.keys() >= {"400", "401", "503"}
    for answer in refusals.values():
        assert answer["description"]
        assert answer["content"][JSON]["schema"] == {"$ref": "#/components/schemas/ErrorBody"}


@EACH_OPERATION
def test_every_body_has_an_example(operation: JsonDict) -> None:
    for body in (operation.get("requestBody", {}), *successes(operation)):
        for media_type, media in body.get("content", {}).items():
            if media_type == JSON:
                assert examples(media)


def test_operations_that_require_a_key_declare_it() -> None:
    assert DOCUMENT["components"]["securitySchemes"]["PersonalAPIKey"] == {
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


async def test_example_requests_are_accepted(application: FastAPI, service: Service) -> None:
    """What is created comes first, and may be changed then."""
    order = {"post": 0, "put": 1, "patch": 2}
    written = sorted(
        (order[method], path, method, operation["requestBody"]["content"][JSON]["example"])
        for path, operations in application.openapi()["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation and "security" in operation
    )
    ids: dict[str, str] = {"project_id": str(service.project_id)}
    headers = {"Authorization": f"Bearer {service.key}"}

    for _, path, method, body in written:
        response = await service.client.request(method, path.format(**ids), json=body, headers=headers)

        documented = application.openapi()["paths"][path][method]["responses"]
        assert response.status_code == int(min(documented)), (method, path, response.text)
        answered = response.json()
        if response.status_code == 201:
            ids[f"{path.split('/')[-2].removesuffix('s')}_id"] = str(answered["id"])
            ids["project_id"] = str(service.project_id)
            if path.endswith("/experiments/"):
                assert (await service.post(f"/experiments/{answered['id']}/launch/", {})).status_code == 200
        shown = documented[str(response.status_code)]
        assert answered.keys() == shown["content"][JSON]["example"].keys()
