"""What is not understood of a request: refused, or reported in a ``Warning`` header, and never silently dropped."""

import json
import re
from typing import Any

import pytest

from tests.support.application import PROJECT, Route, application, operations
from tests.support.one_of_everything import call, make_objects
from tests.support.service import FUNNEL, Service

pytestmark = pytest.mark.one_database

POLICY = "x-unknown-query-parameters"
GREEDY = "🎉" * 50
BODY = {"name": "Checkout button", "feature_flag_key": "checkout", "filters": FUNNEL}
# Addresses of the API of 2022; everything else that takes a key is younger.
OF_2022 = {
    *(f"{PROJECT}{name}" for name in ("experiments/", "experiments/{experiment_id}/")),
    *(f"{PROJECT}experiments/{{experiment_id}}/{name}/" for name in ("results", "secondary_results")),
    f"{PROJECT}experiments/requires_flag_implementation/",
}
YOUNGER = {
    f"{PROJECT}experiments/{{experiment_id}}/{name}/"
    for name in ("launch", "end", "exposures", "health", "analysis", "decision", "timeseries_results", "snapshots")
} | {f"{PROJECT}experiments/{name}/" for name in ("analyze", "power")}


def with_policy(policy: str, method: str = "GET") -> list[Route]:
    return [
        route for route, operation in operations().items() if operation.get(POLICY) == policy and route[0] == method
    ]


def declared(route: Route) -> list[str]:
    return [one["name"] for one in operations()[route].get("parameters", []) if one["in"] == "query"]


def test_every_operation_that_takes_a_key_says_what_happens_to_unknown_parameters() -> None:
    assert [
        route for route, operation in operations().items() if "security" in operation and POLICY not in operation
    ] == []
    assert {path for _, path in with_policy("reported")} >= OF_2022
    assert {path for method in ("GET", "POST") for _, path in with_policy("refused", method)} >= YOUNGER


async def test_unknown_parameters_are_refused_reported_or_ignored_as_the_document_says(service: Service) -> None:
    ids = {**await make_objects(service, "one"), "organization_id": "@current", "key_id": "1"}
    headers = {"Authorization": f"Bearer {service.key}"}

    for route in with_policy("refused"):
        answer = await service.client.get(route[1].format_map(ids), params={"colour": 1, GREEDY: 2}, headers=headers)
        known = declared(route)
        choice = f"known are {', '.join(known)}" if known else "this endpoint takes none"
        shown = ascii(GREEDY[:40])
        assert answer.status_code == 400, (route, answer.text)
        assert answer.json() == {
            "type": "validation_error",
            "code": "unknown_parameter",
            "detail": f"Unknown query parameters: 'colour', {shown}; {choice}.",
            "attr": "colour",
        }
    for route in with_policy("reported"):
        plain = await call(service, route, ids)
        answer = await service.client.get(route[1].format_map(ids), params={"colour": 1}, headers=headers)
        assert answer.status_code == plain.status_code, route
        assert answer.headers["Warning"] == "199 - \"Ignored unknown query parameters: 'colour'.\"", route
        assert "Warning" not in plain.headers
    for route in with_policy("ignored"):
        answer = await service.client.get(route[1].format_map(ids), params={"colour": 1}, headers=headers)
        assert (answer.status_code, "Warning" in answer.headers) == (200, False), route


async def test_general_parameters_are_known_everywhere(service: Service) -> None:
    path = f"{service.project}/experiments/activity/"

    answer = await service.client.get(path, params={"personal_api_key": service.key, "format": "json", "limit": "1"})

    assert (answer.status_code, "Warning" in answer.headers) == (200, False)


async def test_unknown_parameters_do_not_precede_the_key_and_the_scope(service: Service) -> None:
    answer = await service.client.get(f"{service.project}/experiments/activity/?colour=1")

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("names", "warning"),
    [
        (["colour"], "'colour'"),
        (['a"b', "c\\d", "é\n"], "'a\\\"b', 'c\\\\\\\\d', '\\\\xe9\\\\n'"),
        (
            [f"field_{number}" for number in range(9)],
            "'field_0', 'field_1', 'field_2', 'field_3', 'field_4' and 4 more",
        ),
        (["x" * 100_000], f"'{'x' * 40}'"),
    ],
)
async def test_unknown_fields_of_a_body_of_2022_are_ignored_and_reported(
    service: Service, names: list[str], warning: str
) -> None:
    created = await service.post("/experiments/", BODY | dict.fromkeys(names, 1) | {"personal_api_key": service.key})
    changed = await service.patch(f"/experiments/{created.json()['id']}/", dict.fromkeys(names, 1))

    for answer, status in ((created, 201), (changed, 200)):
        assert answer.status_code == status
        assert answer.headers["Warning"] == f'199 - "Ignored unknown fields of the body: {warning}."'
        assert answer.json()["warnings"] == [_unquoted(answer.headers["Warning"])]
    shown = await service.get(f"/experiments/{created.json()['id']}/")
    assert "warnings" not in shown.json()
    assert shown.headers["ETag"] == changed.headers["ETag"]


def _unquoted(header: str) -> str:
    """Return the text of a ``Warning`` header."""
    return re.sub(r"\\(.)", r"\1", header.removeprefix('199 - "').removesuffix('"'))


EVERYONE: dict[str, Any] = {"properties": [], "rollout_percentage": 100, "description": "all"}


@pytest.mark.parametrize(
    ("filters", "created", "changed"),
    [
        ({"groups": [EVERYONE]}, None, None),
        (
            {"groups": [EVERYONE, {"rollout_precentage": 5}]},
            *["Ignored unknown fields of release conditions: 'rollout_precentage'."] * 2,
        ),
        ({"payloads": {"true": "1"}}, None, "Ignored filters without groups: they are replaced as a whole."),
    ],
)
async def test_filters_of_flags_without_effect_are_reported(
    service: Service, filters: dict[str, Any], created: str | None, changed: str | None
) -> None:
    made = await service.post("/feature_flags/", {"key": "f", "filters": filters})
    patched = await service.patch(f"/feature_flags/{made.json()['id']}/", {"filters": filters})

    assert (made.status_code, patched.status_code) == (201, 200)
    for answer, text in ((made, created), (patched, changed)):
        assert answer.headers.get("Warning") == (text and f'199 - "{text}"')
        assert answer.json().get("warnings") == (text and [text])


async def test_body_of_known_fields_is_not_reported(service: Service) -> None:
    assert "Warning" not in (await service.post("/experiments/", BODY)).headers


FUNNEL_COUNTS: dict[str, Any] = {
    "metric_type": "funnel",
    "variants": [{"key": key, "success_count": 1, "failure_count": 9} for key in ("control", "test")],
}


@pytest.mark.parametrize(
    ("path", "body", "attr"),
    [
        ("", BODY | {"stats_config": {"confidence": 0.99}}, "stats_config__confidence"),
        ("", BODY | {"stats_config": {"sequential": {"on": True}}}, "stats_config__sequential__on"),
        ("", BODY | {"decision_criteria": {"target_effect": 0.1}}, "decision_criteria__target_effect"),
        ("", BODY | {"decision_criteria": {"\ud800": 0.1}}, "decision_criteria__?"),
        ("analyze/", FUNNEL_COUNTS | {"split": {}}, "split"),
        ("analyze/", FUNNEL_COUNTS | {"stats_config": {"level": 0.9}}, "stats_config__level"),
        ("power/", {"metric_type": "funnel", "baseline": 0.1, "alfa": 0.01}, "alfa"),
    ],
)
async def test_unknown_fields_of_what_is_younger_than_2022_are_refused(
    service: Service, path: str, body: dict[str, object], attr: str
) -> None:
    content = json.dumps(body).encode()
    answer = await service.request(
        "POST", f"/experiments/{path}", content=content, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 400, answer.text
    assert (answer.json()["code"], answer.json()["attr"]) == ("unknown_field", attr)
    assert ascii(attr.rpartition("__")[2]) in answer.json()["detail"] or "ud800" in answer.json()["detail"]
    assert "known are" in answer.json()["detail"]


async def test_actions_refuse_unknown_fields_and_change_nothing(service: Service) -> None:
    made = await service.create_experiment(end_date=None)

    for action, body in {
        "end": {"conclusionn": "won"},
        "ship_variant": {"variant": "test"},
        "duplicate": {"key": "x"},
    }.items():
        answer = await service.post(f"/experiments/{made['id']}/{action}/", body)
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")
    assert await service.read(f"/experiments/{made['id']}/") == made


def test_the_document_closes_the_bodies_that_refuse_unknown_fields() -> None:
    schemas = application().openapi()["components"]["schemas"]

    for name in (
        "StatsConfig",
        "SequentialConfig",
        "DecisionCriteria",
        "ExperimentEnd",
        "PowerRequest",
        "FunnelAnalyze",
    ):
        assert schemas[name]["additionalProperties"] is False
