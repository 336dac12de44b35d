"""Every field that PATCH takes, POST takes: a wish of the caller is never dropped at creation."""

from typing import Any

import pytest

from tests.support.application import PROJECT, Route, application, operations
from tests.support.service import FUNNEL, Json, Service

pytestmark = pytest.mark.one_database

METRIC: Json = {
    "metric_type": "mean",
    "kind": "ExperimentMetric",
    "uuid": "2f4e0f2c-6d6a-4a39-9a0e-7c1f6f0d8b11",
    "source": {"kind": "EventsNode", "event": "purchase"},
}
# A value other than the default for each field that can be changed, by the address of the list.
SENT: dict[str, Json] = {
    "/api/projects/": {
        "name": "Second shop",
        "timezone": "Europe/Amsterdam",
        "test_account_filters": [
            {"key": "email", "value": "@a.example", "operator": "not_icontains", "type": "person"}
        ],
        "anonymize_ips": True,
        "default_attribution": "exposure",
        "default_cuped": {"enabled": True, "lookback_days": 7},
    },
    f"{PROJECT}experiments/": {
        "name": "Checkout button",
        "description": "Larger",
        "start_date": "2022-11-01T00:00:00Z",
        "end_date": "2022-11-15T00:00:00Z",
        "feature_flag_key": "checkout",
        "parameters": {"minimum_detectable_effect": 5},
        "secondary_metrics": [{"name": "Purchases", "filters": FUNNEL, "role": "guardrail", "goal": "decrease"}],
        "filters": FUNNEL,
        "archived": True,
        "conclusion": "won",
        "conclusion_comment": "It sells.",
        "stats_config": {"confidence_level": 0.99},
        "decision_criteria": {"target_mde": 0.05},
        "metrics": [METRIC],
        "metrics_secondary": [{**METRIC, "uuid": "5d1c5a0a-2c55-4f0e-9c0a-0f4f8f6f7d22"}],
        "exposure_criteria": {"multiple_variant_handling": "first_seen"},
        "saved_metrics_ids": [],
        "holdout_id": None,
        "only_count_matured_users": True,
        "scheduling_config": {
            "end_at": "2199-01-15T09:00:00Z",
            "ramp": [{"after_hours": 0, "rollout_percentage": 5}, {"after_hours": 24, "rollout_percentage": 100}],
        },
        "circuit_breakers": [
            {
                "metric_uuid": "primary",
                "direction": "decrease",
                "threshold_relative": 0.1,
                "min_exposures": 1000,
                "action": "pause",
            }
        ],
    },
    f"{PROJECT}experiment_webhooks/": {
        "url": "https://hooks.example.com/abacus",
        "events": ["experiment.ended"],
        "secret": "a-secret-of-your-own",
        "active": False,
    },
    f"{PROJECT}experiment_holdouts/": {
        "name": "Nothing new",
        "description": "In 2026",
        "filters": [{"properties": [], "rollout_percentage": 10}],
    },
    f"{PROJECT}experiment_saved_metrics/": {
        "name": "Purchases",
        "description": "Per person",
        "query": METRIC,
        "tags": ["revenue"],
    },
    f"{PROJECT}feature_flags/": {
        "name": "Green button",
        "key": "green",
        "filters": {"groups": [{"properties": [], "rollout_percentage": 20}]},
        "deleted": True,
        "active": False,
        "ensure_experience_continuity": True,
    },
    f"{PROJECT}actions/": {
        "name": "Checkout seen",
        "description": "Any page",
        "steps": [{"event": "checkout"}],
        "deleted": True,
    },
    f"{PROJECT}cohorts/": {
        "name": "Paying",
        "description": "On a plan",
        "groups": [],
        "filters": {"properties": {"type": "AND", "values": [{"key": "plan", "value": ["pro"], "type": "person"}]}},
        "is_static": False,
        "deleted": True,
    },
}
NOT_SHOWN = {"distinct_ids"}  # added to a list, and counted


def fields(route: Route) -> set[str]:
    reference = operations()[route]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    found: dict[str, Any] = application().openapi()["components"]["schemas"][reference.rpartition("/")[2]]["properties"]
    return set(found)


def changeable() -> dict[str, set[str]]:
    """Return what PATCH and PUT take of one object, by the address of the list that it is created in."""
    found: dict[str, set[str]] = {}
    for method, path in operations():
        parent = path.rpartition("{")[0]
        if method in {"PATCH", "PUT"} and ("POST", parent) in operations():
            found[parent] = found.get(parent, set()) | fields((method, path))
    return found


def test_every_field_that_can_be_changed_can_be_sent_at_creation() -> None:
    missing = {path: taken - fields(("POST", path)) for path, taken in changeable().items()}

    assert missing == {path: set() for path in SENT}


def test_every_field_that_can_be_changed_is_tried() -> None:
    assert {path: taken - NOT_SHOWN for path, taken in changeable().items()} == {
        path: set(body) for path, body in SENT.items()
    }


@pytest.mark.parametrize("path", SENT)
async def test_fields_of_a_creation_are_stored(service: Service, path: str) -> None:
    headers = {"Authorization": f"Bearer {service.key}"}

    created = await service.client.post(path.format(project_id=service.project_id), json=SENT[path], headers=headers)

    assert created.status_code == 201, created.text
    shown = created.json()
    if path.endswith("holdouts/"):
        assert shown["filters"][0].pop("variant") == f"holdout-{shown['id']}"
    if path.endswith("actions/"):
        shown["steps"] = [{"event": shown["steps"][0]["event"]}]
    for metric in [*(shown.get("metrics") or []), *(shown.get("metrics_secondary") or []), shown.get("query", {})]:
        metric.pop("fingerprint", None)  # which the answer adds
    assert {field: shown[field] for field in SENT[path]} == SENT[path]
    listed = await service.client.get(path.format(project_id=service.project_id), headers=headers)
    assert (shown["id"] in [item["id"] for item in listed.json()["results"]]) is not SENT[path].get("deleted", False)
