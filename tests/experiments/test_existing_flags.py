"""Experiments on flags that existed before, flags without control, and variants that are not compared."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.service import TREND, Json, Service, event, exposure

pytestmark = pytest.mark.one_database

END = "2022-11-05T00:00:00Z"
THIRDS = {"blue": 50, "green": 25, "red": 25}
METRIC = {"metric_type": "mean", "source": {"kind": "EventsNode", "event": "purchase"}}


async def create_flag(
    service: Service, shares: Mapping[str, float] = THIRDS, key: str = "color", **fields: Any
) -> Json:
    variants = [{"key": key, "rollout_percentage": share} for key, share in shares.items()]
    filters = {"groups": [{"properties": [], "rollout_percentage": 30}], "multivariate": {"variants": variants}}
    response = await service.post("/feature_flags/", {"key": key, "active": False, "filters": filters, **fields})
    assert response.status_code == 201, response.text
    return response.json()


def body(**fields: Any) -> Json:
    return {"name": "Color", "feature_flag_key": "color", "filters": TREND, "allow_existing_flag": True, **fields}


async def test_neither_creation_nor_deletion_changes_an_existing_flag(service: Service) -> None:
    flag = await create_flag(service)
    path = f"/feature_flags/{flag['id']}/"

    without = await service.post("/experiments/", body(allow_existing_flag=False))
    made = await service.post("/experiments/", body(start_date="2022-11-01T00:00:00Z"))
    experiment = made.json()
    during = await service.read(path)
    changed = await service.patch(f"/experiments/{experiment['id']}/", {"filters": {**TREND, "x": 1}})
    deleted = await service.delete(f"/experiments/{experiment['id']}/")

    assert (without.status_code, without.json()["code"]) == (400, "unique")
    assert (made.status_code, experiment["uses_existing_flag"], experiment["status"]) == (201, True, "paused")
    assert during == {**flag, "experiment_set": [experiment["id"]]}
    assert (changed.status_code, deleted.status_code) == (200, 204)
    assert await service.read(path) == flag


async def test_flag_of_an_open_experiment_is_not_used_again(service: Service) -> None:
    flag = await create_flag(service)
    first = (await service.post("/experiments/", body(start_date="2022-11-01T00:00:00Z"))).json()

    refused = await service.post("/experiments/", body(name="Second"))
    await service.post(f"/experiments/{first['id']}/end/", {})
    second = (await service.post("/experiments/", body(name="Second"))).json()
    reopened = await service.patch(f"/experiments/{first['id']}/", {"end_date": None})
    await service.post(f"/experiments/{first['id']}/reset/", {})
    restarted = await service.patch(f"/experiments/{first['id']}/", {"start_date": "2022-11-01T00:00:00Z"})
    relaunched = await service.post(f"/experiments/{first['id']}/launch/", {})

    assert (refused.status_code, refused.json()["code"], refused.json()["attr"]) == (400, "unique", "feature_flag_key")
    assert second["feature_flag"] == first["feature_flag"] == flag["id"]
    assert [one.status_code for one in (reopened, restarted, relaunched)] == [400] * 3
    assert relaunched.json()["code"] == "invalid_state"
    assert "'Second'" in relaunched.json()["detail"]


async def test_flag_that_another_experiment_uses_stays_when_its_own_is_deleted(service: Service) -> None:
    own = await service.create_experiment(feature_flag_key="color")  # it has ended
    await service.post("/experiments/", body())

    await service.delete(f"/experiments/{own['id']}/")

    assert not (await service.read(f"/feature_flags/{own['feature_flag']}/"))["deleted"]


@pytest.mark.parametrize(
    ("fields", "attr"),
    [
        ({"parameters": {"feature_flag_variants": [{"key": "control", "rollout_percentage": 100}]}}, None),
        ({"filters": {**TREND, "properties": [{"key": "plan", "value": "pro", "type": "person"}]}}, "filters"),
        ({"holdout_id": 1}, "holdout_id"),
        ({"stats_config": {"excluded_variants": ["pink"]}}, "stats_config"),
    ],
)
async def test_experiment_cannot_say_other_things_than_the_existing_flag(
    service: Service, fields: dict[str, Any], attr: str | None
) -> None:
    await create_flag(service)

    refused = await service.post("/experiments/", body(**fields))

    assert (refused.status_code, refused.json()["attr"]) == (400, attr), refused.text
    assert (await service.read("/experiments/"))["count"] == 0


async def test_holdout_of_an_existing_flag_is_named_once_the_flag_has_it(service: Service) -> None:
    holdout = await service.post("/experiment_holdouts/", {"name": "x", "filters": [{"rollout_percentage": 10}]})
    number = holdout.json()["id"]
    flag = await create_flag(service)

    refused = await service.post("/experiments/", body(holdout_id=number))
    filters = {**flag["filters"], "holdout": {"id": number, "exclusion_percentage": 10}}
    await service.patch(f"/feature_flags/{flag['id']}/", {"filters": filters})
    made = await service.post("/experiments/", body(holdout_id=number))
    frozen = await service.patch(f"/experiment_holdouts/{number}/", {"filters": [{"rollout_percentage": 20}]})

    assert (refused.status_code, refused.json()["attr"]) == (400, "holdout_id")
    assert (made.status_code, made.json()["holdout_id"]) == (201, number)
    assert (frozen.status_code, frozen.json()["code"]) == (400, "in_use")


async def test_flags_that_an_experiment_may_use_are_listed(service: Service) -> None:
    path = "/experiments/eligible_feature_flags/"
    free = await create_flag(service)
    await create_flag(service, {"only": 100}, "single")
    await create_flag(service, key="gone", deleted=True)
    await service.post("/feature_flags/", {"key": "plain"})
    used = await create_flag(service, key="used")
    taken = (await service.post("/experiments/", body(feature_flag_key="used"))).json()

    before = await service.read(path)
    await service.delete(f"/experiments/{taken['id']}/")
    after = await service.read(path, limit=1)

    assert (before["count"], before["results"]) == (1, [free])
    assert (after["count"], [one["id"] for one in after["results"]]) == (2, [used["id"]])
    assert (await service.get(path, offest=1)).status_code == 400


async def launched_without_control(service: Service, **fields: Any) -> Json:
    """Return an experiment on a flag without control: each variant has 100 persons, of whom some buy."""
    await create_flag(service, {"blue": 40, "green": 30, "red": 30})
    made = await service.post(
        "/experiments/", body(start_date="2022-11-01T00:00:00Z", end_date=END, metrics=[METRIC], **fields)
    )
    assert made.status_code == 201, made.text
    persons = {"blue": 80, "green": 60, "red": 90}
    await service.capture(
        *(
            one
            for variant, count in persons.items()
            for n in range(count)
            for one in (
                exposure(f"{variant}-{n}", variant, flag="color"),
                event("$pageview", f"{variant}-{n}", variant=variant, flag="color"),
                *([event("purchase", f"{variant}-{n}")] if n % 3 == 0 or variant == "green" else []),
            )
        )
    )
    return made.json()


@pytest.mark.parametrize(("config", "baseline"), [({}, "blue"), ({"baseline_variant_key": "red"}, "red")])
async def test_flag_without_control_is_compared_with_the_baseline(
    service: Service, config: dict[str, Any], baseline: str
) -> None:
    experiment = await launched_without_control(service, stats_config=config)
    path = f"/experiments/{experiment['id']}"

    analysis = await service.read(f"{path}/analysis/")
    decision = await service.read(f"{path}/decision/")
    health = await service.read(f"{path}/health/")
    results = await service.get(f"{path}/results/")

    for metric in analysis["metrics"]:
        assert metric["analysis"]["stats_config"]["baseline_variant_key"] == baseline
    assert decision["evidence"] != "no_data"
    assert "NO_CONTROL_VARIANT" not in {finding["code"] for finding in health["findings"]}
    assert (results.status_code, results.json()["detail"]) == (400, "No control variant data found")


async def test_draft_on_a_flag_without_control_is_launched(service: Service) -> None:
    await create_flag(service)
    draft = (await service.post("/experiments/", body())).json()

    launched = await service.post(f"/experiments/{draft['id']}/launch/", {})

    assert launched.json()["status"] == "running"
    assert (await service.read(f"/feature_flags/{draft['feature_flag']}/"))["active"]


@pytest.mark.each_database
async def test_excluded_variant_is_exposed_and_not_compared(service: Service) -> None:
    experiment = await launched_without_control(service)
    path = f"/experiments/{experiment['id']}"

    with_all = await service.read(f"{path}/analysis/")
    changed = await service.patch(f"{path}/", {"stats_config": {"excluded_variants": ["red"]}})
    analysis = await service.read(f"{path}/analysis/")
    decision = await service.read(f"{path}/decision/")
    exposures = await service.read(f"{path}/exposures/")
    health = await service.read(f"{path}/health/")

    assert changed.status_code == 200, changed.text
    assert with_all["sample_ratio_mismatch"]["expected"] == {"blue": 92, "green": 69, "red": 69}
    assert analysis["sample_ratio_mismatch"]["expected"] == {"blue": 80, "green": 60}
    assert [one["key"] for one in analysis["metrics"][1]["analysis"]["variants"]] == ["blue", "green"]
    assert exposures["total_exposures"] == {"blue": 80, "green": 60, "red": 90, "$multiple": 0}
    assert decision["rule"]["multiple_testing"] == "none"  # two variants are left
    assert "SRM" not in {finding["code"] for finding in health["findings"]}


@pytest.mark.parametrize(
    ("config", "detail"),
    [
        ({"excluded_variants": ["pink"]}, "'pink' is not a variant of the flag: blue, green, red."),
        ({"excluded_variants": ["blue"]}, "'blue' is the baseline"),
        ({"excluded_variants": ["red"], "baseline_variant_key": "red"}, "'red' is the baseline"),
        ({"excluded_variants": ["green", "red"]}, "at least two variants have to be left"),
    ],
)
async def test_exclusion_that_leaves_nothing_to_compare_is_refused(
    service: Service, config: dict[str, Any], detail: str
) -> None:
    await create_flag(service)
    draft = (await service.post("/experiments/", body())).json()

    refused = await service.patch(f"/experiments/{draft['id']}/", {"stats_config": config})

    assert (refused.status_code, refused.json()["attr"]) == (400, "stats_config")
    assert detail in refused.json()["detail"]


async def test_copy_has_a_flag_of_its_own_with_the_same_variants(service: Service) -> None:
    flag = await create_flag(service)
    original = (await service.post("/experiments/", body(stats_config={"excluded_variants": ["red"]}))).json()

    copy = (await service.post(f"/experiments/{original['id']}/duplicate/", {})).json()
    of_copy = await service.read(f"/feature_flags/{copy['feature_flag']}/")

    assert (of_copy["id"] != flag["id"], copy["uses_existing_flag"]) == (True, False)
    assert of_copy["filters"]["multivariate"] == flag["filters"]["multivariate"]
    assert copy["stats_config"] == {"excluded_variants": ["red"]}
