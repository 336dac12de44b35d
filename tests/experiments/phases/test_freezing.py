"""Frozen exposure: who was exposed keeps the variant, no other person gets one, and unfreezing restores the flag."""

from dataclasses import replace
from typing import Any

import pytest

from app.common import limits
from app.db.database import Database
from tests.experiments.phases.test_schedule import activities, read
from tests.support.service import Json, Service, event, exposure
from tests.support.stored_experiments import only_flag

pytestmark = pytest.mark.one_database

GROUPS = [
    {"properties": [{"key": "plan", "value": ["pro"], "type": "person", "operator": "exact"}]},
    {"properties": None, "rollout_percentage": 100},
]


async def running_experiment(service: Service, **fields: Any) -> Json:
    experiment = await service.create_experiment(end_date=None, **fields)
    await service.capture(exposure("ann", "control"), exposure("ben", "test"), event("$pageview", "eve"))
    return experiment


async def act(service: Service, experiment: Json, action: str, **body: object) -> Json:
    response = await service.post(f"/experiments/{experiment['id']}/{action}/", body)
    assert response.status_code == 200, response.text
    assert await read(service, experiment) == response.json()
    return response.json()


async def shown(service: Service, distinct_id: str) -> object:
    body = {"api_key": service.token, "distinct_id": distinct_id}
    return (await service.client.post("/flags/?v=2", json=body)).json()["flags"]["checkout"]["enabled"]


@pytest.mark.each_database
async def test_frozen_exposure_keeps_others_out_and_unfreezing_restores_the_conditions(
    service: Service, database: Database
) -> None:
    experiment = await running_experiment(service)
    flag = f"/feature_flags/{experiment['feature_flag']}/"
    filters = (await service.read(flag))["filters"] | {"groups": GROUPS}
    assert (await service.patch(flag, {"filters": filters})).status_code == 200
    before = (await only_flag(database, service))["filters"]

    frozen = await act(service, experiment, "freeze_exposure")

    assert frozen["status"] == "exposure_frozen"
    cohort = await service.read(f"/cohorts/{frozen['exposure_freeze']['cohort_id']}/")
    assert (cohort["is_static"], cohort["count"], frozen["exposure_freeze"]["persons"]) == (True, 2, 2)
    assert [await shown(service, one) for one in ("ann", "ben", "eve", "stranger")] == [True, True, False, False]
    definitions = await service.client.get(
        "/api/feature_flag/local_evaluation/",
        params={"token": service.token},
        headers={"Authorization": f"Bearer {service.key}"},
    )
    [definition] = definitions.json()["flags"]
    asked = {"key": "id", "type": "cohort", "value": cohort["id"]}
    assert all(asked.items() <= group["properties"][-1].items() for group in definition["filters"]["groups"])
    listed = (await service.read("/experiments/", status="exposure_frozen"))["results"]
    assert [one["id"] for one in listed] == [experiment["id"]]
    assert (await service.read("/experiments/", status="running"))["results"] == []
    health = await service.read(f"/experiments/{experiment['id']}/health/")
    assert "EXPOSURE_FROZEN" in {one["code"] for one in health["findings"]}
    assert (await service.delete(f"/cohorts/{cohort['id']}/")).status_code in {400, 405}

    thawed = await act(service, experiment, "unfreeze_exposure")

    assert (thawed["status"], thawed["exposure_freeze"]) == ("running", None)
    assert (await only_flag(database, service))["filters"] == before
    assert await shown(service, "stranger") is True
    assert [name for name, _ in await activities(service, experiment)] == [
        "created",
        "exposure_frozen",
        "exposure_unfrozen",
    ]


async def test_what_was_changed_of_a_frozen_flag_stays_and_is_named(service: Service, database: Database) -> None:
    experiment = await running_experiment(service)
    await act(service, experiment, "freeze_exposure")
    flag = f"/feature_flags/{experiment['feature_flag']}/"
    filters = (await service.read(flag))["filters"]
    added = {"properties": [], "rollout_percentage": 5}
    await service.patch(flag, {"filters": {**filters, "groups": [*filters["groups"], added]}})

    findings = (await service.read(f"/experiments/{experiment['id']}/health/"))["findings"]
    await act(service, experiment, "unfreeze_exposure")

    assert "changed" in {one["subcode"] for one in findings if one["code"] == "EXPOSURE_FROZEN"}
    groups = (await only_flag(database, service))["filters"]["groups"]
    assert [group["properties"] for group in groups] == [[], []]
    assert groups[1] == added


async def test_frozen_experiment_pauses_ends_and_ships(service: Service, database: Database) -> None:
    experiment = await running_experiment(service)
    await act(service, experiment, "freeze_exposure")

    assert (await act(service, experiment, "pause"))["status"] == "paused"
    assert (await act(service, experiment, "resume"))["status"] == "exposure_frozen"
    assert (await act(service, experiment, "end"))["status"] == "stopped"
    assert await shown(service, "stranger") is False
    shipped = await act(service, experiment, "ship_variant", variant_key="test")

    assert shipped["exposure_freeze"] is None
    assert [group["properties"] for group in (await only_flag(database, service))["filters"]["groups"]] == [[], []]


async def test_experiments_that_cannot_be_frozen_are_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = await service.create_experiment(feature_flag_key="draft", start_date=None, end_date=None)
    of_groups = await service.create_experiment(
        feature_flag_key="groups", end_date=None, filters={**draft["filters"], "aggregation_group_type_index": 0}
    )
    held_out = await service.create_experiment(feature_flag_key="held-out", end_date=None)
    flag = f"/feature_flags/{held_out['feature_flag']}/"
    filters = (await service.read(flag))["filters"] | {"holdout": {"id": 1, "exclusion_percentage": 10}}
    assert (await service.patch(flag, {"filters": filters})).status_code == 200
    many = await running_experiment(service)
    monkeypatch.setattr(limits, "FROZEN_PERSONS", replace(limits.FROZEN_PERSONS, value=1))

    said = []
    for experiment in (draft, of_groups, held_out, many):
        refused = await service.post(f"/experiments/{experiment['id']}/freeze_exposure/", {})
        said.append((refused.status_code, refused.json()["code"], refused.json()["detail"]))

    assert [status for status, *_ in said] == [400] * 4
    assert [code for _, code, _ in said] == ["invalid_state"] * 3 + ["too_many_persons"]
    assert all(
        word in detail
        for word, (*_, detail) in zip(("launched", "groups", "holdout", "cannot be frozen"), said, strict=True)
    )
    again = await service.post(f"/experiments/{many['id']}/unfreeze_exposure/", {})
    assert (again.status_code, again.json()["code"]) == (400, "invalid_state")


async def test_unfreezing_is_allowed_in_every_status_that_can_be_frozen(service: Service) -> None:
    experiment = await running_experiment(service)

    seen = [await act(service, experiment, action) for action in ("freeze_exposure", "pause", "end", "archive")]
    last = await act(service, experiment, "unfreeze_exposure")

    assert [one["status"] for one in seen] == ["exposure_frozen", "paused", "stopped", "stopped"]
    assert all("unfreeze_exposure" in one["allowed_actions"] for one in seen)
    assert "unfreeze_exposure" not in last["allowed_actions"]
