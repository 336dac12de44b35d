"""The launch checklist says what is missing, and keeps from launching only those who ask for it."""

import pytest

from tests.support.service import Json, Service, exposure


async def items(service: Service, experiment: Json) -> dict[str, Json]:
    listed = await service.read(f"/experiments/{experiment['id']}/launch_checklist/")
    return {one["code"]: one for one in listed["items"]} | {"is_ready": listed["is_ready"]}


async def test_checklist_follows_what_is_done(service: Service) -> None:
    draft = await service.create_experiment(start_date=None, end_date=None)
    first = await items(service, draft)
    other = await service.create_experiment(feature_flag_key="other", start_date=None, end_date=None)

    await service.capture(exposure("ann", "test"))
    await service.patch(
        f"/experiments/{draft['id']}/", {"decision_criteria": {"target_mde": 0.05}, "description": "More"}
    )
    last = await items(service, draft)

    todo = {code for code, item in first.items() if code != "is_ready" and item["state"] == "missing"}
    assert todo == {"flag_in_code", "exposure_event", "planned_size", "guardrails", "holdout", "description"}
    assert all(first[code]["action"] for code in todo)
    left = {code for code, item in last.items() if code != "is_ready" and item["state"] == "missing"}
    assert left == {"guardrails", "holdout"}
    assert first["is_ready"] is last["is_ready"] is True
    assert (await items(service, other))["flag_in_code"]["state"] == "missing"


@pytest.mark.one_database
async def test_what_keeps_from_launching_is_critical(service: Service) -> None:
    draft = await service.create_experiment(start_date=None, end_date=None, filters={"insight": "PATHS"})

    found = await items(service, draft)

    assert (found["is_ready"], found["definition"]["level"], found["definition"]["state"]) == (
        False,
        "critical",
        "missing",
    )
    assert "PATHS" in found["definition"]["detail"]


@pytest.mark.one_database
async def test_launch_asks_for_the_checklist_only_on_request(service: Service) -> None:
    drafts = [
        await service.create_experiment(feature_flag_key=key, start_date=None, end_date=None) for key in ("a", "b")
    ]
    launch = f"/experiments/{drafts[0]['id']}/launch/"

    refused = await service.post(f"{launch}?checklist=required", {})
    unknown = await service.post(f"{launch}?checklist=all", {})
    launched = await service.post(f"/experiments/{drafts[1]['id']}/launch/", {})

    assert (refused.status_code, refused.json()["code"]) == (409, "checklist_incomplete")
    assert "The flag is in the code" in refused.json()["detail"]
    assert (unknown.status_code, unknown.json()["attr"]) == (400, "checklist")
    assert launched.json()["status"] == "running"
    await service.capture(exposure("ann", "test", flag="a"))
    await service.patch(f"/experiments/{drafts[0]['id']}/", {"decision_criteria": {"target_mde": 0.05}})
    assert (await service.post(f"{launch}?checklist=required", {})).json()["status"] == "running"
