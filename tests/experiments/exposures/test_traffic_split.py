"""The split is tested over its phases, whatever happens to the flag."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import delete

from app.db.database import Database
from app.db.models import ActivityEntry
from app.experiments.exposures.traffic_split import Phase, TrafficSplit
from tests.support.service import TREND, Service, event, exposure

pytestmark = pytest.mark.one_database

EVEN = {"control": 50, "test": 50}


async def set_split(service: Service, experiment: Any, shares: Mapping[str, float]) -> None:
    path = f"/feature_flags/{experiment['feature_flag']}/"
    filters = (await service.read(path))["filters"]
    variants = [{"key": key, "rollout_percentage": share} for key, share in shares.items()]
    changed = await service.patch(path, {"filters": {**filters, "multivariate": {"variants": variants}}})
    assert changed.status_code == 200, changed.text


async def expose(service: Service, counts: Mapping[str, int], time: str, prefix: str = "") -> None:
    events = [exposure(f"{prefix}{key}-{n}", key, time) for key, count in counts.items() for n in range(count)]
    for start in range(0, len(events), 500):
        await service.capture(*events[start : start + 500])


async def history(service: Service, experiment: Any) -> Any:
    return await service.read(f"/experiments/{experiment['id']}/distribution_history/")


async def ratio(service: Service, experiment: Any) -> Any:
    return (await service.read(f"/experiments/{experiment['id']}/analysis/"))["sample_ratio_mismatch"]


async def test_expected_persons_are_summed_over_phases(service: Service) -> None:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=2)
    variants = [{"key": "control", "rollout_percentage": 100}, {"key": "test", "rollout_percentage": 0}]
    experiment = await service.create_experiment(
        start_date=start.isoformat(), end_date=None, filters=TREND, parameters={"feature_flag_variants": variants}
    )
    await expose(service, {"control": 100}, (start + dt.timedelta(hours=1)).isoformat())
    before = await service.read(f"/experiments/{experiment['id']}/exposures/")
    await set_split(service, experiment, EVEN)
    unchanged = await service.read(f"/experiments/{experiment['id']}/exposures/")
    changed_at = dt.datetime.fromisoformat((await history(service, experiment))[-1]["effective_from"])
    await expose(
        service, {"control": 100, "test": 100}, (changed_at + dt.timedelta(milliseconds=1)).isoformat(), "new-"
    )
    after = await service.read(f"/experiments/{experiment['id']}/exposures/")

    assert await ratio(service, experiment) == {
        "expected": {"control": 200, "test": 100},
        "chi_square": 0,
        "p_value": 1,
        "mismatch": False,
    }
    assert unchanged["timeseries"] == before["timeseries"]  # days are counted as one, however they are divided
    assert sum(after["timeseries"][0]["exposure_counts"]) == after["total_exposures"]["control"] == 200
    report = await service.read(f"/experiments/{experiment['id']}/health/")
    assert "SRM" not in {finding["code"] for finding in report["findings"]}


async def test_persons_belong_to_the_phase_in_which_they_were_shown_the_flag(service: Service) -> None:
    """Whenever they were activated; and what excluded variants did in a phase changes nothing for the others."""
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=2)
    shares = {"control": 50, "test": 0, "bad": 50}
    variants = [{"key": key, "rollout_percentage": share} for key, share in shares.items()]
    experiment = await service.create_experiment(
        start_date=start.isoformat(),
        end_date=None,
        filters=TREND,
        parameters={"feature_flag_variants": variants},
        stats_config={"excluded_variants": ["bad"]},
        exposure_criteria={"activation_config": {"kind": "ExperimentEventExposureConfig", "event": "opened"}},
    )
    await expose(service, {"control": 20}, (start + dt.timedelta(hours=1)).isoformat())  # those of `bad` were lost
    await set_split(service, experiment, {"control": 25, "test": 25, "bad": 50})
    changed_at = dt.datetime.fromisoformat((await history(service, experiment))[-1]["effective_from"])
    later = [(changed_at + dt.timedelta(milliseconds=after)).isoformat() for after in (1, 2)]
    await expose(service, {"control": 10, "test": 10, "bad": 20}, later[0], "new-")
    persons = [f"control-{n}" for n in range(20)]
    persons += [f"new-{key}-{n}" for key, count in {"control": 10, "test": 10, "bad": 20}.items() for n in range(count)]
    await service.capture(*(event("opened", person, later[1]) for person in persons))

    assert (await ratio(service, experiment))["expected"] == {"control": 30, "test": 10}


async def test_touch_of_the_flag_does_not_switch_the_alarm_off(service: Service) -> None:
    experiment = await service.create_experiment(start_date="2022-11-01T00:00:00Z", end_date=None, filters=TREND)
    await expose(service, {"control": 300, "test": 180}, "2022-11-02T09:00:00Z")
    await service.capture(*(event("$pageview", f"test-{n}", variant="test") for n in range(100)))
    first = await ratio(service, experiment)
    await set_split(service, experiment, {"control": 51, "test": 49})
    touched = await ratio(service, experiment)
    await set_split(service, experiment, EVEN)
    await service.patch(f"/feature_flags/{experiment['feature_flag']}/", {"active": False})

    decision = await service.read(f"/experiments/{experiment['id']}/decision/")
    report = await service.read(f"/experiments/{experiment['id']}/health/")

    assert first == touched == await ratio(service, experiment)
    assert first["mismatch"]
    assert first["expected"] == {"control": 240, "test": 240}
    assert (decision["evidence"], decision["recommendation"]) == ("split_mismatch", "blocked")
    [alarm, *others] = report["findings"]
    assert alarm["code"] == "SRM"
    assert "over 3 phases of the split" in alarm["detail"]
    assert "SPLIT_CHANGED" in {finding["code"] for finding in others}


async def test_history_names_who_changed_what_and_when(service: Service) -> None:
    experiment = await service.create_experiment(end_date=None)
    path = f"/feature_flags/{experiment['feature_flag']}/"
    await service.patch(path, {"name": "A name is no change of the split"})
    flag = await service.read(path)
    narrowed = {**flag["filters"], "groups": [{"properties": [], "rollout_percentage": 5}]}
    await service.patch(path, {"filters": narrowed})
    await set_split(service, experiment, {"control": 90, "test": 10})
    held = {**(await service.read(path))["filters"], "holdout": {"id": 1, "exclusion_percentage": 20}}
    await service.patch(path, {"filters": held})

    listed = await history(service, experiment)

    assert [
        (one["rollout_percentage"], one["holdout"], [share["rollout_percentage"] for share in one["variants"]])
        for one in listed
    ] == [
        (100, 0, [50, 50]),
        (5, 0, [50, 50]),
        (5, 0, [90, 10]),
        (5, 20, [90, 10]),
    ]
    assert [share["key"] for share in listed[0]["variants"]] == ["control", "test"]
    assert {one["changed_by"]["email"] for one in listed} == {service.email}
    assert [one["effective_from"] for one in listed] == sorted(one["effective_from"] for one in listed)


@pytest.mark.each_database
@pytest.mark.parametrize("changes", [0, 1])
async def test_flag_older_than_the_log_begins_with_the_oldest_split_that_is_known(
    service: Service, database: Database, changes: int
) -> None:
    experiment = await service.create_experiment(start_date="2022-11-01T00:00:00Z", end_date=None, filters=TREND)
    for _ in range(changes):
        await set_split(service, experiment, {"control": 90, "test": 10})
    async with database.write() as session:
        await session.execute(
            delete(ActivityEntry).where(
                ActivityEntry.project_id == service.project_id, ActivityEntry.activity == "created"
            )
        )
    await expose(service, {"control": 60, "test": 60}, "2022-11-02T09:00:00Z")

    listed = await history(service, experiment)

    assert listed[0]["changed_by"] is None
    assert [share["rollout_percentage"] for share in listed[0]["variants"]] == [50, 50]
    assert len(listed) == 1 + changes
    assert (await ratio(service, experiment))["expected"] == {"control": 60, "test": 60}


async def test_split_after_the_end_is_not_that_of_the_experiment(service: Service) -> None:
    experiment = await service.create_experiment(filters=TREND)
    await expose(service, {"control": 60, "test": 60}, "2022-11-02T09:00:00Z")

    await service.post(f"/experiments/{experiment['id']}/ship_variant/", {"variant_key": "test"})

    assert (await ratio(service, experiment))["expected"] == {"control": 60, "test": 60}
    assert len(await history(service, experiment)) == 2


def test_phase_without_shares_follows_the_one_before() -> None:
    later = dt.datetime(2022, 11, 2, tzinfo=dt.UTC)
    phases = [Phase(None, {"a": 0, "b": 0}), Phase(later, {"a": 3, "gone": 5, "b": 1}), Phase(later, {"gone": 100})]

    assert TrafficSplit(phases).predicted(["a", "b"]) == [[0.75, 0.25]] * 3
    assert TrafficSplit(phases[:1]).predicted(["a", "b"]) is None
