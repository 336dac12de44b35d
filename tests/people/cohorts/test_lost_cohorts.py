"""A cohort that something refers to stays, and no condition on one that is gone or not understood holds."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import update

from app.db.database import Database
from app.db.models import Cohort
from tests.flags.evaluation.asking import values
from tests.support.service import FUNNEL, TREND, Service, event

pytestmark = pytest.mark.one_database

Document = Any  # JSON

USERS = [
    "flag",
    "participants",
    "metric",
    "secondary",
    "exposure",
    "typed metric",
    "typed secondary metric",
    "exposure criteria",
    "saved metric",
    "action",
    "cohort",
    "test accounts",
]


async def use(service: Service, user: str, condition: Mapping[str, object]) -> tuple[str, str]:
    """Let something refer to a cohort; return its address and how a person would call it."""
    listed = [condition]
    filters = {**TREND, "events": [{"id": "e", "properties": listed}]}
    typed = {"metric_type": "mean", "source": {"kind": "EventsNode", "event": "e", "properties": listed}}
    exposure = {"kind": "ExperimentEventExposureConfig", "event": "e", "properties": listed}
    experiments: dict[str, dict[str, Document]] = {
        "participants": {"filters": {**FUNNEL, "properties": listed}},
        "metric": {"filters": {**TREND, "events": json.dumps(filters["events"])}},
        "secondary": {"secondary_metrics": [{"name": "s", "filters": filters}]},
        "exposure": {"parameters": {"custom_exposure_filter": filters}},
        "typed metric": {"metrics": [typed]},
        "typed secondary metric": {"metrics_secondary": [typed]},
        "exposure criteria": {"exposure_criteria": {"exposure_config": exposure}},
    }
    if user in experiments:
        created = await service.create_experiment(**experiments[user])
        # The participants stand in the flag, which is named first.
        name = "the feature flag 'checkout'" if user == "participants" else "the experiment 'Checkout button'"
        return f"/experiments/{created['id']}/", name
    if user == "test accounts":
        assert (await service.patch("/", {"test_account_filters": listed})).status_code == 200
        return "/", "the filter of test accounts of the project"
    path, body, name = {
        "flag": ("/feature_flags/", {"key": "f", "filters": {"groups": [{"properties": listed}]}}, "feature flag 'f'"),
        "action": ("/actions/", {"name": "a", "steps": [{"event": "e", "properties": listed}]}, "the action 'a'"),
        "cohort": ("/cohorts/", {"name": "c", "filters": {"properties": listed}}, "the cohort 'c'"),
        "saved metric": ("/experiment_saved_metrics/", {"name": "m", "query": typed}, "the saved metric 'm'"),
    }[user]
    response = await service.post(path, body)
    assert response.status_code == 201, response.text
    return f"{path}{response.json()['id']}/", name


async def create(service: Service, **fields: object) -> Document:
    return (await service.post("/cohorts/", {"name": "Paying", **fields})).json()


@pytest.mark.parametrize("user", USERS)
async def test_cohort_is_not_deleted_while_something_refers_to_it(service: Service, user: str) -> None:
    cohort = await create(service, is_static=True)
    address = f"/cohorts/{cohort['id']}/"
    condition = {"key": "id", "type": "cohort", "value": str(cohort["id"]), "operator": "not_in"}
    path, name = await use(service, user, condition)

    refused = [await service.delete(address), await service.patch(address, {"deleted": True})]

    assert [(one.status_code, one.json()["code"]) for one in refused] == [(400, "cohort_in_use")] * 2
    assert name in refused[0].json()["detail"]
    if user == "test accounts":
        await service.patch(path, {"test_account_filters": []})
    elif user == "flag":
        await service.patch(path, {"deleted": True})
    else:
        await service.delete(path)
    assert (await service.delete(address)).status_code == 204


BROKEN: Sequence[Mapping[str, object]] = [
    {"deleted": True},
    {"filters": {"properties": [{"key": "plan", "type": "person", "value": "pro", "operator": "like"}]}},
    {"filters": {"properties": [{"key": "plan", "type": "person", "value": None}]}},
]


@pytest.mark.parametrize("broken", BROKEN)
async def test_no_condition_on_a_lost_cohort_holds(
    service: Service, database: Database, broken: Mapping[str, object]
) -> None:
    await service.capture(event("$identify", "ann", properties={"$set": {"plan": "pro"}}))
    lost = await create(service, filters={"properties": [{"key": "plan", "type": "person", "value": "pro"}]})
    inside = {"key": "id", "type": "cohort", "value": lost["id"]}
    outsiders = [{**inside, "operator": "not_in"}, {**inside, "negation": True}]
    for number, condition in enumerate([inside, *outsiders]):
        filters = {"groups": [{"properties": [condition]}]}
        assert (await service.post("/feature_flags/", {"key": f"f{number}", "filters": filters})).status_code == 201
    others = await create(service, filters={"properties": outsiders[:1]})
    experiment = await service.create_experiment(
        filters={**TREND, "events": [{"id": "e", "properties": outsiders[1:]}], "filter_test_accounts": False}
    )
    async with database.write() as session:
        await session.execute(update(Cohort).where(Cohort.id == lost["id"]).values(**broken))

    found = await values(service, "ann")
    results = await service.get(f"/experiments/{experiment['id']}/results/")
    health = await service.read(f"/experiments/{experiment['id']}/health/")

    assert {key: found[key] for key in ("f0", "f1", "f2")} == {"f0": False, "f1": False, "f2": False}
    assert (await service.read(f"/cohorts/{others['id']}/"))["count"] == 0
    assert results.status_code == 400
    assert results.json()["detail"].startswith(f"Cohort ID {lost['id']} ")
    findings = {finding["code"]: finding["detail"] for finding in health["findings"]}
    assert f"Cohort ID {lost['id']} " in findings["FILTER_NOT_UNDERSTOOD"]
