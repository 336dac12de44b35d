"""Experiments start, grow and end by themselves: when they said, once, and as the log tells."""

import asyncio
from typing import Any

import pytest

from app.db.database import Database
from app.experiments.snapshots.service import SnapshotTaker
from tests.support.service import Json, Service
from tests.support.stored_experiments import flags, only_flag
from tests.support.upkeep import NOON, after, upkeep_of, written

pytestmark = pytest.mark.one_database

RAMP = [{"after_hours": 0, "rollout_percentage": 5}, {"after_hours": 24, "rollout_percentage": 50}]


async def scheduled_draft(service: Service, **schedule: Any) -> Json:
    return await service.create_experiment(
        start_date=None, end_date=None, scheduling_config={"start_at": written(NOON), **schedule}
    )


async def read(service: Service, experiment: Json) -> Json:
    return await service.read(f"/experiments/{experiment['id']}/")


async def activities(service: Service, experiment: Json) -> list[tuple[str, object]]:
    log = await service.read(f"/experiments/{experiment['id']}/activity/")
    return [(one["activity"], one["user"] and "user") for one in reversed(log["results"])]


async def rollout(database: Database, service: Service) -> object:
    return (await only_flag(database, service))["filters"]["groups"][0]["rollout_percentage"]


async def test_draft_starts_at_its_time_and_ends_with_a_snapshot(service: Service, database: Database) -> None:
    draft = await scheduled_draft(service, end_at=written(after(48)))
    upkeep = await upkeep_of(service, database)

    await upkeep.step(after(-0.01))
    assert (await read(service, draft))["status"] == "draft"
    await upkeep.step(after(0.5))
    started = await read(service, draft)
    assert (await only_flag(database, service))["active"] is True
    await upkeep.step(after(49))
    await upkeep.step(after(50))

    ended = await read(service, draft)
    assert (started["start_date"], started["end_date"]) == (written(after(0.5)), None)
    assert ended["end_date"] == written(after(48))
    [snapshot] = (await service.read(f"/experiments/{draft['id']}/snapshots/"))["results"]
    assert (snapshot["trigger"], snapshot["created_by"]) == ("end", None)
    assert await activities(service, draft) == [("created", "user"), ("launched", None), ("ended", None)]
    assert [one["kind"] for one in ended["automatic_actions"]] == ["started", "ended"]


async def test_draft_that_cannot_be_launched_stays_one_and_health_says_why(
    service: Service, database: Database
) -> None:
    draft = await scheduled_draft(service)
    await service.patch(f"/experiments/{draft['id']}/", {"filters": {"insight": "PATHS"}})
    upkeep = await upkeep_of(service, database)

    for hours in (1, 2):
        await upkeep.step(after(hours))

    assert (await read(service, draft))["status"] == "draft"
    assert (await activities(service, draft))[-1] == ("start_refused", None)
    assert [name for name, _ in await activities(service, draft)].count("start_refused") == 1
    findings = (await service.read(f"/experiments/{draft['id']}/health/"))["findings"]
    [refused] = [one for one in findings if one["code"] == "START_REFUSED"]
    assert refused["severity"] == "critical"
    assert "PATHS" in refused["detail"]
    await service.patch(f"/experiments/{draft['id']}/", {"filters": draft["filters"]})
    await upkeep.step(after(3))
    assert (await read(service, draft))["start_date"] == written(after(3))


async def test_draft_whose_scheduled_time_has_passed_says_so(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = await scheduled_draft(service, end_at=written(after(48)))
    monkeypatch.setattr("app.experiments.health.phase_findings.utc_now", lambda: after(49))

    await (await upkeep_of(service, database)).step(after(49))  # the service was down until then

    assert (await read(service, draft))["status"] == "draft"
    [missed] = (await service.read(f"/experiments/{draft['id']}/health/"))["findings"]
    assert (missed["code"], missed["subcode"], missed["severity"]) == ("START_REFUSED", "missed", "critical")


async def test_ramp_grows_the_rollout_step_by_step_and_leaves_the_split(service: Service, database: Database) -> None:
    draft = await scheduled_draft(service, ramp="default")
    variants = (await only_flag(database, service))["filters"]["multivariate"]
    upkeep = await upkeep_of(service, database)

    seen = []
    for hours in (0, 1, 24, 25, 73, 500):  # a process that was down takes the latest step
        await upkeep.step(after(hours))
        seen.append(await rollout(database, service))

    assert seen == [1, 1, 5, 5, 25, 100]
    assert (await only_flag(database, service))["filters"]["multivariate"] == variants
    assert [name for name, _ in await activities(service, draft)] == ["created", "launched", *["ramped"] * 3]


async def test_every_way_to_start_begins_with_the_first_step_of_a_ramp(service: Service, database: Database) -> None:
    config = {"ramp": RAMP}
    created = await service.create_experiment(end_date=None, scheduling_config=config)
    patched = await service.create_experiment(
        feature_flag_key="patched", start_date=None, end_date=None, scheduling_config=config
    )
    await service.patch(f"/experiments/{patched['id']}/", {"start_date": "2022-11-01T00:00:00Z"})
    launched = await service.create_experiment(
        feature_flag_key="launched", start_date=None, end_date=None, scheduling_config=config
    )
    await service.post(f"/experiments/{launched['id']}/launch/", {})

    stored = await flags(database, service)

    assert [one["filters"]["groups"][0]["rollout_percentage"] for one in stored] == [5, 5, 5]
    assert [(await read(service, one))["status"] for one in (created, patched, launched)] == ["running"] * 3


async def test_ramp_never_takes_back_what_a_user_released_nor_what_they_stopped(
    service: Service, database: Database
) -> None:
    draft = await scheduled_draft(service, ramp=RAMP)
    upkeep, flag = await upkeep_of(service, database), f"/feature_flags/{draft['feature_flag']}/"
    await upkeep.step(after(0))
    filters = (await only_flag(database, service))["filters"]

    larger = {**filters, "groups": [{"properties": [], "rollout_percentage": 80}]}
    assert (await service.patch(flag, {"filters": larger})).status_code == 200
    await upkeep.step(after(25))
    assert await rollout(database, service) == 80
    config = {"ramp": [*RAMP, {"after_hours": 48, "rollout_percentage": 90}]}
    assert (await service.patch(f"/experiments/{draft['id']}/", {"scheduling_config": config})).status_code == 200
    await upkeep.step(after(26))
    smaller = {**filters, "groups": [{"properties": [], "rollout_percentage": 0}]}
    assert (await service.patch(flag, {"filters": smaller})).status_code == 200
    await upkeep.step(after(49))

    assert await rollout(database, service) == 0
    assert (await read(service, draft))["automatic_actions"][-1]["kind"] == "ramp_stopped"


@pytest.mark.each_database
async def test_processes_at_the_same_time_start_and_end_once(service: Service, database: Database) -> None:
    draft = await scheduled_draft(service, end_at=written(after(48)), ramp=RAMP)
    upkeeps = [await upkeep_of(service, database) for _ in range(3)]

    for hours in (0, 24, 48):
        await asyncio.gather(*(upkeep.step(after(hours)) for upkeep in upkeeps))

    names = [name for name, _ in await activities(service, draft)]
    assert names == ["created", "launched", "ramped", "ended"]
    assert (await service.read(f"/experiments/{draft['id']}/snapshots/"))["count"] == 1


async def test_end_that_was_interrupted_is_done_by_the_next_step(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = await scheduled_draft(service, end_at=written(after(48)))
    upkeep = await upkeep_of(service, database)
    await upkeep.step(after(0))

    async def fail(*_: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(SnapshotTaker, "take", fail)
        await upkeep.step(after(48))
    unfinished = await read(service, draft)
    await upkeep.step(after(49))

    assert (unfinished["end_date"], (await read(service, draft))["end_date"]) == (None, written(after(48)))


async def test_experiment_that_a_user_runs_on_after_its_end_is_not_ended_again(
    service: Service, database: Database
) -> None:
    draft = await scheduled_draft(service, end_at=written(after(48)))
    upkeep = await upkeep_of(service, database)
    for hours in (0, 48):
        await upkeep.step(after(hours))

    await service.patch(f"/experiments/{draft['id']}/", {"end_date": None})
    await upkeep.step(after(50))

    assert (await read(service, draft))["end_date"] is None


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"start_at": "2022-11-01T00:00:00Z"}, "`start_at` has to lie ahead"),
        ({"end_at": "2022-11-01T00:00:00Z"}, "`end_at` has to lie ahead"),
        ({"start_at": written(after(1)), "end_at": written(NOON)}, "later than `start_at`"),
        ({"start": written(NOON)}, "start"),
        ({"ramp": [{"after_hours": 0, "rollout_percentage": 5, "share": 1}]}, "share"),
        ({"ramp": [{"after_hours": 1, "rollout_percentage": 5}]}, "after_hours 0"),
        ({"ramp": [RAMP[0], {"after_hours": 24, "rollout_percentage": 5}]}, "larger"),
        ({"ramp": "slow"}, "list"),
    ],
)
async def test_schedule_that_cannot_be_followed_is_refused_by_name(service: Service, schedule: Json, said: str) -> None:
    body = {"name": "Late", "feature_flag_key": "late", "filters": {"insight": "FUNNELS"}}

    refused = await service.post("/experiments/", {**body, "scheduling_config": schedule})

    assert refused.status_code == 400
    assert said in refused.json()["detail"]
    assert refused.json()["attr"].startswith("scheduling_config")


async def test_start_of_a_running_experiment_cannot_be_scheduled(service: Service) -> None:
    running = await service.create_experiment(end_date=None)

    refused = await service.patch(f"/experiments/{running['id']}/", {"scheduling_config": {"start_at": written(NOON)}})

    assert (refused.status_code, refused.json()["attr"]) == (400, "scheduling_config")


@pytest.mark.each_database
async def test_reset_forgets_the_times_of_a_schedule(service: Service, database: Database) -> None:
    draft = await scheduled_draft(service, end_at=written(after(9)), ramp=RAMP)
    upkeep = await upkeep_of(service, database)
    await upkeep.step(after(1))

    await service.post(f"/experiments/{draft['id']}/reset/", {})
    await upkeep.step(after(2))

    reset = await read(service, draft)
    assert (reset["start_date"], reset["scheduling_config"], reset["automatic_actions"]) == (None, {"ramp": RAMP}, None)


async def test_ramp_needs_one_release_condition(service: Service) -> None:
    draft = await scheduled_draft(service, ramp=RAMP)
    groups = [{"properties": [], "rollout_percentage": 10}, {"properties": []}]
    filters = (await service.read(f"/feature_flags/{draft['feature_flag']}/"))["filters"]
    await service.patch(f"/feature_flags/{draft['feature_flag']}/", {"filters": {**filters, "groups": groups}})

    refused = await service.post(f"/experiments/{draft['id']}/launch/", {})

    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_state")
    assert "exactly one release condition" in refused.json()["detail"]
