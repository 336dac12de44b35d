"""What of an experiment cannot be counted: drafts may hold it, and are told; a launch is refused; words are checked."""

import datetime as dt
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.db.database import Database
from app.db.models import Experiment
from tests.support.service import FUNNEL, TREND, Json, Service, event, exposure

pytestmark = pytest.mark.one_database

SECONDARY = {"name": "Purchases", "filters": TREND}
PROBLEMS: list[tuple[dict[str, Any], str, str]] = [
    (
        {"filters": {**FUNNEL, "insight": "FUNNEL"}},
        "filters",
        "The target metric: The insight 'FUNNEL' cannot be counted; known are FUNNELS, TRENDS.",
    ),
    (
        {"filters": {**FUNNEL, "insight": "RETENTION"}},
        "filters",
        "The target metric: The insight 'RETENTION' cannot be counted; known are FUNNELS, TRENDS.",
    ),
    ({"filters": {"insight": "FUNNELS"}}, "filters", "The target metric: The funnel has no steps."),
    (
        {"filters": {"insight": "TRENDS"}},
        "filters",
        "The target metric: The trend has no event or action that exists.",
    ),
    (
        {"filters": {"insight": "TRENDS", "actions": [{"id": 99, "type": "actions"}]}},
        "filters",
        "The target metric: Action ID 99 does not exist!",
    ),
    (
        {"filters": {**FUNNEL, "funnel_order_type": "random"}},
        "filters",
        "The target metric: funnel_order_type 'random' not supported",
    ),
    (
        {"secondary_metrics": [SECONDARY, {"name": "None", "filters": {}}]},
        "secondary_metrics",
        "Secondary metric 1: It does not say what to count.",
    ),
    (
        {"parameters": {"custom_exposure_filter": {"events": []}, "feature_flag_variants": []}},
        "parameters",
        "`custom_exposure_filter`: The trend has no event or action that exists.",
    ),
    (
        {"stats_config": {"baseline_variant_key": "gone"}},
        "stats_config",
        "The baseline 'gone' is not a variant of the flag: control, test.",
    ),
]


async def health_of(service: Service, experiment: Json) -> Json:
    return await service.read(f"/experiments/{experiment['id']}/health/")


def codes(report: Json) -> list[tuple[str, str]]:
    return [(finding["code"], finding["severity"]) for finding in report["findings"]]


async def draft(service: Service, **fields: Any) -> Json:
    return await service.create_experiment(start_date=None, end_date=None, **fields)


@pytest.mark.parametrize(("fields", "attr", "detail"), PROBLEMS)
async def test_draft_holds_what_cannot_be_counted_and_is_not_launched(
    service: Service, fields: dict[str, Any], attr: str, detail: str
) -> None:
    made = await draft(service, **fields)
    path = f"/experiments/{made['id']}/"

    refused = await service.post(f"{path}launch/", {})
    report = await health_of(service, made)

    assert refused.status_code == 400
    assert refused.json() == {"type": "validation_error", "code": "invalid_input", "detail": detail, "attr": attr}
    assert report["status"] == "unhealthy"
    assert [(one["code"], one["subcode"], one["detail"]) for one in report["findings"]] == [
        ("INVALID_DEFINITION", attr, detail)
    ]
    assert await service.read(path) == made

    repair = {"filters": FUNNEL, "secondary_metrics": [SECONDARY], "parameters": None, "stats_config": None}
    assert (await service.patch(path, {attr: repair[attr]})).status_code == 200
    assert codes(await health_of(service, made)) == []
    assert (await service.post(f"{path}launch/", {})).json()["status"] == "running"


async def test_everything_that_is_wrong_is_named_at_once(service: Service) -> None:
    made = await draft(service, filters={"insight": "PATHS"}, secondary_metrics=[{"name": "x"}])
    await service.patch(f"/feature_flags/{made['feature_flag']}/", {"deleted": True})

    details = [finding["detail"] for finding in (await health_of(service, made))["findings"]]

    assert details[0] == "The experiment's feature flag is deleted."
    assert len(details) == 3
    await service.patch(f"/feature_flags/{made['feature_flag']}/", {"deleted": False})
    assert (await service.post(f"/experiments/{made['id']}/launch/", {})).json()["detail"] == " ".join(details[1:])


async def test_change_of_2022_launches_whatever_it_is_and_health_tells(service: Service) -> None:
    made = await draft(service, filters={"insight": "TRENDS"})

    launched = await service.patch(f"/experiments/{made['id']}/", {"start_date": "2022-11-01T00:00:00Z"})

    assert (launched.status_code, launched.json()["status"]) == (200, "running")
    assert ("NO_METRIC", "critical") in codes(await health_of(service, made))


@pytest.mark.parametrize(
    ("setting", "value", "detail"),
    [
        ("role", "Guardrail", "'Guardrail' is not a role of secondary metric 1; known are secondary, guardrail."),
        ("role", "primary", "'primary' is not a role of secondary metric 1; known are secondary, guardrail."),
        ("role", ["guardrail"], "['guardrail'] is not a role of secondary metric 1; known are secondary, guardrail."),
        ("goal", "lower", "'lower' is not a goal of secondary metric 1; known are increase, decrease."),
        ("goal", "é\n", "'\\xe9\\n' is not a goal of secondary metric 1; known are increase, decrease."),
        (
            "non_inferiority_margin",
            "5 %",
            "'5 %' is not a non_inferiority_margin of secondary metric 1; it is a number from 0 to 10.",
        ),
        (
            "non_inferiority_margin",
            True,
            "True is not a non_inferiority_margin of secondary metric 1; it is a number from 0 to 10.",
        ),
    ],
)
async def test_unknown_words_of_secondary_metrics_are_refused_by_name(
    service: Service, setting: str, value: object, detail: str
) -> None:
    metrics = {"secondary_metrics": [SECONDARY, {**SECONDARY, setting: value}]}
    made = await service.create_experiment()

    answers: list[httpx.Response] = [
        await service.post("/experiments/", {"name": "x", "feature_flag_key": "x", "filters": FUNNEL, **metrics}),
        await service.patch(f"/experiments/{made['id']}/", metrics),
        await service.request(
            "PUT", f"/experiments/{made['id']}/", json={"name": "x", "feature_flag_key": "checkout", **metrics}
        ),
    ]

    attr = f"secondary_metrics__1__{setting}"
    for answer in answers:
        assert answer.status_code == 400
        assert answer.json() == {"type": "validation_error", "code": "invalid_choice", "detail": detail, "attr": attr}


@pytest.mark.parametrize("role", [None, "secondary", "guardrail"])
async def test_known_words_of_secondary_metrics_are_accepted(service: Service, role: str | None) -> None:
    metric = {**SECONDARY, "role": role, "goal": "decrease", "non_inferiority_margin": 0}

    assert (await service.create_experiment(secondary_metrics=[metric]))["secondary_metrics"] == [metric]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("conclusion", "Won"),
        ("stats_config", {"method": "Bayesian"}),
        ("stats_config", {"multiple_testing": "bonferoni"}),
        ("decision_criteria", {"preset": "harmless"}),
        ("decision_criteria", {"goal": "lower"}),
    ],
)
async def test_unknown_words_in_bodies_are_refused(service: Service, field: str, value: Any) -> None:
    body = {"name": "x", "feature_flag_key": "x", "filters": FUNNEL, field: value}
    attr = field if isinstance(value, str) else f"{field}__{next(iter(value))}"

    answer = await service.post("/experiments/", body)

    assert (answer.status_code, answer.json()["attr"]) == (400, attr)


async def test_word_that_was_stored_before_has_no_effect_and_health_tells(service: Service, database: Database) -> None:
    made = await service.create_experiment(secondary_metrics=[SECONDARY])
    stored = [{**SECONDARY, "role": "Guardrail"}]
    async with database.write() as session:
        await session.execute(update(Experiment).where(Experiment.id == made["id"]).values(secondary_metrics=stored))

    report = await health_of(service, made)

    assert ("UNKNOWN_SETTING", "warning") in codes(report)
    [finding] = [one for one in report["findings"] if one["code"] == "UNKNOWN_SETTING"]
    assert finding["detail"].startswith("'Guardrail' is not a role of secondary metric 0")
    assert finding["evidence"] == {"metric_id": "secondary-0", "field": "role"}


EMPTY = (
    "The experiment's window is empty: it ends (2022-11-01T00:00:00Z) before it starts (2022-11-02T00:00:00Z), so no "
    "event counts."
)


@pytest.mark.parametrize("filters", [FUNNEL, TREND])
async def test_experiment_that_ends_before_it_starts_is_stored_and_says_so(service: Service, filters: Json) -> None:
    made = await service.create_experiment(
        start_date="2022-11-02T00:00:00Z", end_date="2022-11-01T00:00:00Z", filters=filters
    )
    await service.capture(exposure("ann", "test", "2022-11-01T12:00:00Z"), event("$pageview", "ann", variant="test"))

    results = await service.get(f"/experiments/{made['id']}/results/")
    report = await health_of(service, made)

    assert made["status"] == "stopped"
    assert results.status_code == 400
    assert results.json()["detail"] == f"No control variant data found. {EMPTY}"
    assert results.json()["code"] == "no_data"
    assert report["status"] == "unhealthy"
    assert [(one["code"], one["detail"]) for one in report["findings"]] == [("EMPTY_WINDOW", EMPTY)]


async def test_window_of_one_second_is_not_empty(service: Service) -> None:
    made = await service.create_experiment(start_date="2022-11-01T00:00:00.9Z", end_date="2022-11-01T00:00:00.1Z")

    assert "EMPTY_WINDOW" not in [code for code, _ in codes(await health_of(service, made))]


async def test_experiment_runs_until_an_end_that_lies_ahead(service: Service) -> None:
    ahead = (dt.datetime.now(dt.UTC) + dt.timedelta(days=5)).strftime("%Y-%m-%dT00:00:00Z")
    made = await service.create_experiment(end_date=ahead)
    asked = {"token": service.token, "distinct_id": "ann"}

    flags = (await service.client.post("/flags/?v=2", json=asked)).json()["flags"]
    paused = await service.post(f"/experiments/{made['id']}/pause/", {})
    finding = (await health_of(service, made))["findings"][0]
    ended = await service.post(f"/experiments/{made['id']}/end/", {})

    assert made["status"] == "running"
    assert flags["checkout"]["enabled"] is True
    assert (paused.status_code, paused.json()["status"]) == (200, "paused")
    assert (finding["code"], finding["subcode"]) == ("FLAG_STATE", "inactive")
    assert (ended.status_code, ended.json()["status"]) == (200, "stopped")
    assert ended.json()["end_date"] < ahead


async def test_launch_keeps_an_end_that_lies_ahead(service: Service) -> None:
    made = await service.create_experiment(start_date=None, end_date="2199-01-01T00:00:00Z")

    launched = await service.post(f"/experiments/{made['id']}/launch/", {})

    assert (launched.json()["status"], launched.json()["end_date"]) == ("running", "2199-01-01T00:00:00Z")


async def test_scheduled_experiment_waits_and_says_for_what(service: Service) -> None:
    made = await service.create_experiment(start_date="2199-01-01T00:00:00Z", end_date=None)

    report = await health_of(service, made)
    results = await service.get(f"/experiments/{made['id']}/results/")

    assert made["status"] == "scheduled"
    assert (report["status"], codes(report)) == ("waiting", [("FLAG_STATE", "info")])
    assert results.json()["detail"] == ("No control variant data found. The experiment starts at 2199-01-01T00:00:00Z.")
    launched = await service.post(f"/experiments/{made['id']}/launch/", {})
    assert (launched.json()["status"], launched.json()["start_date"] < "2199") == ("running", True)
