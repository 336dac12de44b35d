"""Conditions mean the same on events, on persons and on cohorts, whatever counts them."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import update

from app.db.database import Database
from app.db.models import Action, Experiment, FeatureFlag, Project
from tests.support.service import FUNNEL, TREND, Service, event

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]

LATE = "01-04-2021 19:00:00"
PROPERTIES: Sequence[Any] = [None, True, "True", "false", "pro", "Pro", "50% off", 2.5, "2.5", 15, LATE]
CONDITIONS: Sequence[tuple[dict[str, Any], Sequence[Any]]] = [
    # a condition without its key and type, and which of the properties pass
    ({"value": True}, [True, "True"]),
    ({"value": ["true"]}, [True]),
    ({"value": True, "operator": "is_not"}, [None, "false", *PROPERTIES[4:]]),
    ({"value": ["pro", 2.5]}, ["pro", 2.5, "2.5"]),
    ({"value": ["RO", "%"], "operator": "icontains"}, ["pro", "Pro", "50% off"]),
    ({"value": [10, 20], "operator": "between"}, [15]),
    ({"value": 3, "operator": "gt", "negation": True}, [one for one in PROPERTIES if one != 15]),
    ({"value": "2021-04-02", "operator": "is_date_before"}, [LATE]),
    ({"value": "-7d", "operator": "is_date_before"}, [LATE]),
    ({"value": "01-04-2021", "operator": "is_date_after"}, [LATE]),
]


async def counts_of(service: Service, filters: Sequence[Sequence[dict[str, Any]]]) -> list[float]:
    """Count the events that pass each filter."""
    metrics = [{"filters": {**TREND, "events": [{"id": "paid", "properties": one}]}} for one in filters]
    experiment = await service.create_experiment(secondary_metrics=metrics)
    path = f"/experiments/{experiment['id']}/secondary_results/"
    return [
        sum((await service.read(path, id=number))["result"].values(), start=0.0) for number, _ in enumerate(metrics)
    ]


async def test_condition_counts_the_same_events_by_their_own_property_and_by_their_persons(service: Service) -> None:
    for number, value in enumerate(PROPERTIES):
        properties = {"p": value, "$set": {"p": value}}
        await service.capture(event("paid", f"person-{number}", variant="control", properties=properties))
    filters = [[{"key": "p", "type": kind, **condition}] for kind in ("event", "person") for condition, _ in CONDITIONS]

    found = await counts_of(service, filters)

    expected = [float(len(passing)) for _, passing in CONDITIONS]
    assert found == expected * 2


async def test_conditions_on_a_cohort_count_its_members_or_all_others(service: Service) -> None:
    names = ["ann", "bob", "cleo"]
    await service.capture(*(event("paid", name, variant="control") for name in names))
    cohort = (await service.post("/cohorts/", {"name": "c", "is_static": True, "distinct_ids": ["ann"]})).json()
    inside = {"key": "id", "type": "cohort", "value": cohort["id"]}
    outside: list[dict[str, object]] = [
        {"operator": "not_in"},
        {"negation": True},
        {"operator": "is_not"},
        {"operator": "in", "negation": True},
    ]

    found = await counts_of(
        service,
        [
            [inside],
            [{**inside, "operator": "in"}],
            [{**inside, "operator": "not_in", "negation": True}],
            *([{**inside, **members}] for members in outside),
        ],
    )

    assert found == [1, 1, 1, 2, 2, 2, 2]


async def test_test_accounts_and_actions_read_conditions_alike(service: Service) -> None:
    for number, internal in enumerate([True, "true", "TRUE", False, None]):
        properties = {"$set": {"internal": internal}}
        await service.capture(event("paid", f"{number}", variant="control", properties=properties))
    not_internal = {"key": "internal", "type": "person", "operator": "is_not", "value": True}
    assert (await service.patch("/", {"test_account_filters": [not_internal]})).status_code == 200
    step = {"event": "paid", "properties": [not_internal]}
    action = (await service.post("/actions/", {"name": "a", "steps": [step]})).json()
    metrics = [
        {"filters": {**TREND, "events": [{"id": "paid"}], "filter_test_accounts": True}},
        {"filters": {"insight": "TRENDS", "actions": [{"id": action["id"]}]}},
    ]
    experiment = await service.create_experiment(secondary_metrics=metrics)

    for number in range(2):
        found = await service.read(f"/experiments/{experiment['id']}/secondary_results/", id=number)
        assert found == {"result": {"control": 2.0}}


LIKE = {"key": "plan", "operator": "like", "value": "pro"}
REFUSED = [
    LIKE,
    {"key": "plan", "value": None},
    {"key": "plan", "value": 5, "operator": "between"},
    {"key": "1 = 1", "type": "hogql", "value": 1},
    {"key": "plan", "operator": "is_date_after", "value": "-7q"},
    {"key": "text", "type": "element", "operator": "gt", "value": "5"},
    {"key": "first", "type": "flag", "value": True},
]


@pytest.mark.parametrize("condition", REFUSED)
async def test_condition_that_is_not_understood_is_refused_wherever_it_is_written(
    service: Service, condition: dict[str, Any]
) -> None:
    listed = [condition]
    metric = {**TREND, "events": [{"id": "paid", "properties": listed}]}
    node = {"kind": "EventsNode", "event": "paid", "properties": listed}
    exposure = {**node, "kind": "ExperimentEventExposureConfig"}
    typed = [
        {"metric_type": "mean", "source": node},
        {"metric_type": "funnel", "series": [node]},
        {"metric_type": "ratio", "numerator": node, "denominator": {"kind": "EventsNode", "event": "visit"}},
        {
            "metric_type": "retention",
            "start_event": {"kind": "ExperimentExposureNode"},
            "completion_event": node,
            "retention_window_start": 1,
            "retention_window_end": 7,
        },
    ]
    fields: list[dict[str, Any]] = [
        {"filters": metric},
        {"filters": {**TREND, "events": json.dumps(metric["events"])}},
        {"filters": {**FUNNEL, "properties": listed}},
        {"filters": {**FUNNEL, "exclusions": metric["events"]}},
        {"secondary_metrics": [{"filters": metric}]},
        {"parameters": {"custom_exposure_filter": metric}},
        *({field: [one]} for one in typed for field in ("metrics", "metrics_secondary")),
        {"exposure_criteria": {"exposure_config": exposure}},
        {"exposure_criteria": {"activation_config": exposure}},
    ]
    written = [
        ("POST", "/feature_flags/", {"key": "f", "filters": {"groups": [{"properties": listed}]}}),
        ("POST", "/cohorts/", {"name": "c", "filters": {"properties": listed}}),
        ("POST", "/cohorts/", {"name": "c", "groups": [{"properties": listed}]}),
        ("POST", "/actions/", {"name": "a", "steps": [{"event": "e", "properties": listed}]}),
        ("PATCH", "/", {"test_account_filters": listed}),
        *(("POST", "/experiment_saved_metrics/", {"name": "m", "query": one}) for one in typed),
        *(("POST", "/experiments/", {"name": "e", "feature_flag_key": "e", "filters": TREND, **one}) for one in fields),
    ]

    answers = [await service.request(method, path, json=body) for method, path, body in written]

    assert [answer.status_code for answer in answers] == [400] * len(written)
    assert {answer.json()["type"] for answer in answers} == {"validation_error"}
    assert {answer.json()["code"] for answer in answers} == {"invalid_input"}


@pytest.mark.each_database
async def test_stored_condition_that_is_not_understood_matches_no_one_and_health_says_so(
    service: Service, database: Database
) -> None:
    await service.capture(event("paid", "ann", variant="control", properties={"plan": "pro"}))
    action = (await service.post("/actions/", {"name": "old", "steps": [{"event": "paid"}]})).json()
    experiment = await service.create_experiment(
        filters={**TREND, "events": [{"id": "paid"}], "filter_test_accounts": True},
        secondary_metrics=[{"name": "by action", "filters": {"insight": "TRENDS", "actions": [{"id": action["id"]}]}}],
    )
    stored = [
        update(Experiment)
        .where(Experiment.id == experiment["id"])
        .values(filters={**TREND, "events": [{"id": "paid", "properties": [{**LIKE, "negation": True}]}]}),
        update(Action)
        .where(Action.id == action["id"])
        .values(steps=[{"event": "paid", "properties": [LIKE], "url_matching": "contains"}]),
        update(FeatureFlag)
        .where(FeatureFlag.id == experiment["feature_flag"])
        .values(filters={"groups": [{"properties": [{**LIKE, "type": "person", "negation": True}]}]}),
    ]
    async with database.write() as session:
        for statement in stored:
            await session.execute(statement)
    path = f"/experiments/{experiment['id']}/"

    results = await service.get(f"{path}results/")
    secondary = await service.get(f"{path}secondary_results/", id=0)
    flags = await service.client.post("/flags/?v=1", json={"token": service.token, "distinct_id": "ann"})
    health = await service.read(f"{path}health/")

    assert [answer.status_code for answer in (results, secondary)] == [400, 400]
    assert all('the operator "like" is not known' in answer.json()["detail"] for answer in (results, secondary))
    assert flags.json()["featureFlags"]["checkout"] is False
    [finding] = [finding for finding in health["findings"] if finding["code"] == "FILTER_NOT_UNDERSTOOD"]
    assert [problem.partition(":")[0] for problem in finding["evidence"]["problems"]] == [
        "release condition 1 of the flag",
        "the metric 'Number of paid'",
        "the metric 'by action'",
    ]


async def test_stored_filter_of_test_accounts_that_is_not_understood_counts_no_one(
    service: Service, database: Database
) -> None:
    experiment = await service.create_experiment(filters={**TREND, "filter_test_accounts": True})
    typed = await service.create_experiment(
        feature_flag_key="typed", exposure_criteria={"filterTestAccounts": True}, filters=TREND
    )
    async with database.write() as session:
        await session.execute(
            update(Project).where(Project.id == service.project_id).values(test_account_filters=[LIKE])
        )

    results = await service.get(f"/experiments/{experiment['id']}/results/")
    exposures = await service.get(f"/experiments/{typed['id']}/exposures/")

    for answer in (results, exposures):
        assert answer.status_code == 400
        assert "The project's test_account_filters: " in answer.json()["detail"]
    for one in (experiment, typed):
        health = await service.read(f"/experiments/{one['id']}/health/")
        assert "FILTER_NOT_UNDERSTOOD" in {finding["code"] for finding in health["findings"]}


async def test_deleted_action_in_a_trend_is_named(service: Service) -> None:
    action = (await service.post("/actions/", {"name": "a", "steps": [{"event": "paid"}]})).json()
    filters = {"insight": "TRENDS", "actions": [{"id": action["id"]}]}
    experiment = await service.create_experiment(filters=filters)
    await service.delete(f"/actions/{action['id']}/")

    refused = await service.get(f"/experiments/{experiment['id']}/results/")

    assert (refused.status_code, refused.json()["detail"]) == (400, f"Action ID {action['id']} does not exist!")
