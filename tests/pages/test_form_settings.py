"""The settings in the form of an experiment: who counts, how they are compared, and what happens by itself."""

from typing import Any

import pytest

from tests.pages.conftest import Visitor
from tests.pages.test_forms import FILLED, METRICS, created, shown_fields, submit
from tests.support.service import Service

pytestmark = pytest.mark.one_database

HOLDOUT: dict[str, Any] = {"name": "Everything", "filters": [{"rollout_percentage": 5}]}
SETTINGS = (
    "stats_config",
    "scheduling_config",
    "circuit_breakers",
    "saved_metrics_ids",
    "holdout_id",
    "metrics",
    "exposure_criteria",
)


async def assert_kept(service: Service, visitor: Visitor, experiment: Any) -> None:
    """Rename an experiment by its form, and look that nothing else changed."""
    fields = await shown_fields(visitor, experiment)
    after = await created(service, await submit(visitor, {**fields, "name": "Renamed"}, f"{experiment['id']}/edit/"))
    assert after["name"] == "Renamed"
    for name in (*SETTINGS, "only_count_matured_users"):
        assert after[name] == experiment[name], name


async def test_form_says_who_counts_and_how_they_are_compared(service: Service, visitor: Visitor) -> None:
    holdout = (await service.post("/experiment_holdouts/", HOLDOUT)).json()
    fields = {
        **FILLED,
        "v0_share": "30",
        "v2_key": "huge",
        "v2_share": "20",
        "exposed_at": "opened",
        "activated_at": "paid",
        "several": "first_seen",
        "no_tests": "yes",
        "level": "99",
        "compare_with": "test",
        "left_out": "huge",
        "cuped": "yes",
        "cuped_days": "7",
        "holdout": str(holdout["id"]),
        "matured": "yes",
    }

    experiment = await created(service, await submit(visitor, fields))

    node = {"kind": "ExperimentEventExposureConfig"}
    assert experiment["exposure_criteria"] == {
        "filterTestAccounts": True,
        "exposure_config": {**node, "event": "opened"},
        "activation_config": {**node, "event": "paid"},
        "multiple_variant_handling": "first_seen",
    }
    assert experiment["stats_config"] == {
        "confidence_level": 0.99,
        "baseline_variant_key": "test",
        "excluded_variants": ["huge"],
        "cuped": {"enabled": True, "lookback_days": 7},
    }
    assert (experiment["holdout_id"], experiment["only_count_matured_users"]) == (holdout["id"], True)
    await assert_kept(service, visitor, experiment)


async def test_form_says_what_happens_by_itself(service: Service, visitor: Visitor) -> None:
    fields = {
        **FILLED,
        "start_at": "2199-01-01T09:00",
        "end_at": "2199-01-15 09:00",
        "r0_hours": "0",
        "r0_share": "5",
        "r1_hours": "24.5",
        "r1_share": "100",
        "m1_kind": "mean",
        "m1_event": "refund",
        "m1_uuid": "5" * 32,
        "m2_kind": "trend_2022",
        "m2_event": "x",
        "m2_uuid": "row",
        "b0_metric": "primary",
        "b0_threshold": "10",
        "b0_action": "pause",
        "b1_metric": "5" * 32,
        "b1_threshold": "2.5",
        "b1_direction": "increase",
        "b1_persons": "1000",
        "b2_metric": "row",
        "b2_threshold": "0",
        "b2_action": "control_only",
    }

    experiment = await created(service, await submit(visitor, fields))

    assert experiment["scheduling_config"] == {
        "start_at": "2199-01-01T09:00:00Z",
        "end_at": "2199-01-15T09:00:00Z",
        "ramp": [
            {"after_hours": 0.0, "rollout_percentage": 5.0},
            {"after_hours": 24.5, "rollout_percentage": 100.0},
        ],
    }
    assert [list(one.values()) for one in experiment["circuit_breakers"]] == [
        ["primary", "decrease", 0.1, 100, "pause"],
        ["5" * 32, "increase", 0.025, 1000, "notify"],
        ["secondary-0", "decrease", 0.0, 100, "control_only"],
    ]
    await assert_kept(service, visitor, experiment)


async def test_changing_the_type_of_a_shared_metric_keeps_what_else_its_link_says(
    service: Service, visitor: Visitor
) -> None:
    saved = (await service.post("/experiment_saved_metrics/", {"name": "Shared", "query": METRICS[0]})).json()
    breakdowns = [{"property": "plan", "type": "event"}]
    link = {"id": saved["id"], "metadata": {"type": "primary", "breakdowns": breakdowns}}
    experiment = await service.create_experiment(start_date=None, end_date=None, saved_metrics_ids=[link])

    changed = {**await shown_fields(visitor, experiment), "s0_type": "secondary"}
    after = await created(service, await submit(visitor, changed, f"{experiment['id']}/edit/"))

    assert after["saved_metrics_ids"] == [
        {"id": saved["id"], "metadata": {"type": "secondary", "breakdowns": breakdowns}}
    ]


async def test_settings_of_the_api_come_back_from_the_form_unchanged(service: Service, visitor: Visitor) -> None:
    holdout = (await service.post("/experiment_holdouts/", HOLDOUT)).json()
    saved = (await service.post("/experiment_saved_metrics/", {"name": "Shared", "query": METRICS[0]})).json()
    experiment = await service.create_experiment(
        filters={},
        start_date=None,
        end_date=None,
        holdout_id=holdout["id"],
        saved_metrics_ids=[{"id": saved["id"], "metadata": {"type": "primary"}}],
        stats_config={"method": "frequentist", "confidence_level": 0.95, "sequential": {"enabled": False}},
        scheduling_config={"end_at": "2199-01-01T09:00:07.5Z", "ramp": "default"},
        circuit_breakers=[
            {"metric_uuid": "primary", "direction": "increase", "threshold_relative": 0.07, "action": "notify"}
        ],
    )
    await assert_kept(service, visitor, experiment)
    launched = await service.post(f"/experiments/{experiment['id']}/launch/", {})
    assert launched.status_code == 200, launched.text
    await assert_kept(service, visitor, launched.json())
