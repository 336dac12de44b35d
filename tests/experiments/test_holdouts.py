"""Holdouts: persons whom all experiments of a holdout keep out."""

import pytest

from tests.support.service import TREND, Json, Service, event, exposure

pytestmark = pytest.mark.one_database

END = "2022-11-05T00:00:00Z"
MEAN = {
    "metric_type": "mean",
    "uuid": "2f4e0f2c-6d6a-4a39-9a0e-7c1f6f0d8b11",
    "source": {"kind": "EventsNode", "event": "purchase"},
}


async def hold(service: Service, percentage: float = 50, name: str = "Nothing new") -> Json:
    response = await service.post(
        "/experiment_holdouts/", {"name": name, "filters": [{"properties": [], "rollout_percentage": percentage}]}
    )
    assert response.status_code == 201, response.text
    return response.json()


async def flag_of(service: Service, experiment: Json) -> Json:
    return await service.read(f"/feature_flags/{experiment['feature_flag']}/")


async def values(service: Service, *distinct_ids: str, key: str = "checkout") -> dict[str, object]:
    found = {}
    for distinct_id in distinct_ids:
        body = {"token": service.token, "distinct_id": distinct_id}
        found[distinct_id] = (await service.client.post("/flags/?v=2", json=body)).json()["flags"][key]["variant"]
    return found


async def test_holdout_names_its_own_variant_and_takes_a_percentage_alone(service: Service) -> None:
    path = "/experiment_holdouts/"
    made = await hold(service, 12.5)
    conditions = [{"key": "plan", "value": "pro", "type": "person"}]

    async def refused(*filters: object) -> int:
        return (await service.post(path, {"name": "x", "filters": filters})).status_code

    assert made["filters"] == [{"properties": [], "rollout_percentage": 12.5, "variant": f"holdout-{made['id']}"}]
    assert made["created_by"]["email"] == service.email
    assert (await service.read(path))["results"] == [made]
    half = {"rollout_percentage": 50}
    wrong = [
        (),
        (half, half),
        ({},),
        ({"rollout_percentage": 101},),
        ({"properties": conditions, **half},),
        ({**half, "x": 1},),
    ]
    assert [await refused(*filters) for filters in wrong] == [400] * len(wrong)


async def test_flag_of_an_experiment_holds_its_holdout_back_everywhere(service: Service) -> None:
    holdout = await hold(service)
    experiment = await service.create_experiment(end_date=None, holdout_id=holdout["id"])

    definitions = await service.client.get(
        "/api/feature_flag/local_evaluation",
        params={"token": service.token},
        headers={"Authorization": f"Bearer {service.key}", "User-Agent": "posthog-python/7.91.1"},
    )

    written = {"id": holdout["id"], "exclusion_percentage": 50}
    assert (await flag_of(service, experiment))["filters"]["holdout"] == written
    [definition] = definitions.json()["flags"]
    assert definition["filters"]["holdout"] == {"id": str(holdout["id"]), "exclusion_percentage": 50}
    seen = await values(service, "h0", "h1")  # at 0.212 and 0.517
    assert seen["h0"] == f"holdout-{holdout['id']}"
    assert seen["h1"] in {"control", "test"}


@pytest.mark.each_database
async def test_holdout_of_a_draft_changes_and_is_locked_by_the_launch(service: Service) -> None:
    first, second = await hold(service), await hold(service, 10)
    draft = await service.create_experiment(start_date=None, end_date=None, holdout_id=first["id"])
    path = f"/experiments/{draft['id']}/"

    changed = (await service.patch(path, {"holdout_id": second["id"]})).json()
    of_second = (await flag_of(service, draft))["filters"]["holdout"]
    missing = await service.patch(path, {"holdout_id": 999_999})
    assert (await service.post(f"{path}launch/", {})).status_code == 200
    locked = await service.patch(path, {"holdout_id": None})
    same = await service.patch(path, {"holdout_id": second["id"], "name": "Button"})

    assert changed["holdout_id"] == second["id"]
    assert of_second == {"id": second["id"], "exclusion_percentage": 10}
    assert (missing.status_code, missing.json()["code"], missing.json()["attr"]) == (
        400,
        "does_not_exist",
        "holdout_id",
    )
    assert (locked.status_code, locked.json()["code"], locked.json()["attr"]) == (400, "invalid_state", "holdout_id")
    assert same.status_code == 200
    assert (await flag_of(service, draft))["filters"]["holdout"] == of_second
    await service.post(f"{path}reset/", {})
    assert (await service.patch(path, {"holdout_id": None})).json()["holdout_id"] is None
    assert "holdout" not in (await flag_of(service, draft))["filters"]


@pytest.mark.each_database
async def test_percentage_changes_for_drafts_only_and_holdout_in_use_stays(service: Service) -> None:
    holdout = await hold(service)
    path = f"/experiment_holdouts/{holdout['id']}/"
    draft = await service.create_experiment(start_date=None, end_date=None, holdout_id=holdout["id"])

    raised = await service.patch(path, {"filters": [{"rollout_percentage": 60}]})
    of_draft = (await flag_of(service, draft))["filters"]["holdout"]["exclusion_percentage"]
    await service.post(f"/experiments/{draft['id']}/launch/", {})
    refused = await service.patch(path, {"filters": [{"rollout_percentage": 70}]})
    renamed = await service.patch(path, {"name": "Renamed", "filters": [{"rollout_percentage": 60}]})
    kept = await service.delete(path)
    await service.delete(f"/experiments/{draft['id']}/")

    assert raised.json()["filters"][0]["rollout_percentage"] == of_draft == 60
    assert (refused.status_code, refused.json()["code"], refused.json()["attr"]) == (400, "in_use", "filters")
    assert "'Checkout button' was launched with it: persons would move between" in refused.json()["detail"]
    assert renamed.json()["name"] == "Renamed"
    assert (kept.status_code, kept.json()["code"]) == (400, "in_use")
    assert (await service.delete(path)).status_code == 204


async def test_held_out_persons_are_counted_apart(service: Service) -> None:
    holdout = await hold(service)
    held, other = f"holdout-{holdout['id']}", "holdout-999999"
    experiment = await service.create_experiment(end_date=END, filters=TREND, metrics=[MEAN], holdout_id=holdout["id"])
    await service.capture(
        *(
            exposure(f"{variant}-{n}", variant)
            for variant, count in (("control", 60), ("test", 60))
            for n in range(count)
        ),
        *(exposure(f"held-{n}", held) for n in range(40)),
        exposure("held-0", held, "2022-11-03T09:00:00Z"),
        exposure("switched", held),
        exposure("switched", "test", "2022-11-03T09:00:00Z"),
        exposure("foreign", other),
        *(event("purchase", f"held-{n}") for n in range(40)),
        *(event("purchase", f"test-{n}") for n in range(6)),
    )
    path = f"/experiments/{experiment['id']}"

    exposures = await service.read(f"{path}/exposures/")
    analysis = await service.read(f"{path}/analysis/")
    participants = await service.read(f"{path}/participants/", limit=200)
    health = await service.read(f"{path}/health/")

    assert exposures["total_exposures"] == {"control": 60, "test": 60, "$multiple": 1}
    accounting = exposures["accounting"]
    assert (accounting["holdout"], accounting["holdout_events"], accounting["unknown_variant"]) == (40, 42, 1)
    assert accounting["persons_seen"] == 162 == 120 + 40 + accounting["persons_without_variant"] + 1
    assert accounting["exposure_events"] == 164 == 121 + 42 + 1
    assert analysis["sample_ratio_mismatch"]["expected"] == {"control": 60, "test": 60}
    variants = {
        one["key"]: (one["number_of_samples"], one["sum"]) for one in analysis["metrics"][1]["analysis"]["variants"]
    }
    assert variants == {"control": (60, 0), "test": (60, 6)}
    assert len(participants["results"]) == 121
    assert not {"SRM", "HOLDOUT_NOT_APPLIED"} & {finding["code"] for finding in health["findings"]}


async def test_first_contact_decides_about_persons_who_switch_between_holdout_and_variant(service: Service) -> None:
    holdout = await hold(service)
    held = f"holdout-{holdout['id']}"
    experiment = await service.create_experiment(
        end_date=END,
        filters=TREND,
        holdout_id=holdout["id"],
        exposure_criteria={"multiple_variant_handling": "first_seen"},
    )
    await service.capture(
        exposure("ann", held),
        exposure("ann", "test", "2022-11-03T09:00:00Z"),
        exposure("bob", "test"),
        exposure("bob", held, "2022-11-03T09:00:00Z"),
    )

    exposures = await service.read(f"/experiments/{experiment['id']}/exposures/")

    assert exposures["total_exposures"] == {"control": 0, "test": 1, "$multiple": 0}
    assert (exposures["accounting"]["holdout"], exposures["accounting"]["persons_without_variant"]) == (1, 0)


async def test_flag_loses_its_holdout_only_on_purpose_and_health_says_so(service: Service) -> None:
    holdout = await hold(service)
    experiment = await service.create_experiment(end_date=None, holdout_id=holdout["id"])
    flag = await flag_of(service, experiment)
    filters = {name: value for name, value in flag["filters"].items() if name != "holdout"}
    path = f"/feature_flags/{flag['id']}/"
    kept = await service.patch(path, {"filters": filters})
    assert kept.json()["filters"] == flag["filters"]
    await service.patch(path, {"filters": {**filters, "holdout": None}})

    health = await service.read(f"/experiments/{experiment['id']}/health/")

    assert ("HOLDOUT_NOT_APPLIED", "critical") in {(one["code"], one["severity"]) for one in health["findings"]}


async def test_copy_of_an_experiment_has_its_holdout(service: Service) -> None:
    holdout = await hold(service)
    experiment = await service.create_experiment(holdout_id=holdout["id"])

    copy = (await service.post(f"/experiments/{experiment['id']}/duplicate/", {})).json()

    assert copy["holdout_id"] == holdout["id"]
    assert (await flag_of(service, copy))["filters"]["holdout"]["id"] == holdout["id"]


async def running_twice(service: Service, percentage: float = 25) -> tuple[str, list[Json]]:
    """Return the value of persons who are held out, and two experiments of a holdout; the second one has the metric."""
    holdout = await hold(service, percentage)
    fields = {"end_date": None, "filters": TREND, "holdout_id": holdout["id"]}
    first = await service.create_experiment(**fields)
    second = await service.create_experiment(
        **fields, feature_flag_key="second", start_date="2022-11-03T00:00:00Z", metrics=[MEAN]
    )
    return f"holdout-{holdout['id']}", [first, second]


def not_released(distinct_id: str, time: str) -> dict[str, object]:
    """Return the event of a person whom the second flag shows nothing."""
    properties = {"$feature_flag": "second", "$feature_flag_response": False}
    return event("$feature_flag_called", distinct_id, time, properties=properties)


async def analysis_of(service: Service, held: str, metric: object = MEAN["uuid"]) -> Json:
    return await service.read(f"/experiment_holdouts/{held.removeprefix('holdout-')}/analysis/", metric=metric)


async def test_holdout_is_compared_with_everybody_else_from_the_first_contact_on(service: Service) -> None:
    held, experiments = await running_twice(service)
    await service.capture(
        *(exposure(f"held-{n}", held) for n in range(50)),
        *(exposure(f"test-{n}", "test") for n in range(100)),
        *(not_released(f"off-{n}", "2022-11-04T09:00:00Z") for n in range(50)),
        exposure("held-0", held, "2022-11-05T09:00:00Z", "second"),
        exposure("both", held),
        exposure("both", "test", "2022-11-04T09:00:00Z", "second"),
        exposure("early", "test", "2022-11-02T09:00:00Z", "second"),  # its experiment has not started
        exposure("elsewhere", "test", flag="other"),
        event("purchase", "held-0", "2022-11-04T09:00:00Z"),
        *(event("purchase", f"test-{n}") for n in range(20)),
        event("purchase", "off-0", "2022-11-04T08:00:00Z"),  # before the first contact
        event("purchase", "off-1", "2022-11-04T10:00:00Z"),
    )

    analysis = await analysis_of(service, held)

    assert [one["id"] for one in analysis["experiments"]] == [one["id"] for one in experiments]
    assert analysis["persons"] == {"held_out": 50, "others": 150, "both": 1}
    ratio = analysis["sample_ratio_mismatch"]
    assert ratio["expected"] == pytest.approx({held: 50, "others": 150})
    assert (ratio["chi_square"], ratio["p_value"]) == pytest.approx((0, 1))
    found = analysis["metric"]["analysis"]
    assert found["stats_config"]["baseline_variant_key"] == held
    assert [(one["key"], one["number_of_samples"], one["sum"]) for one in found["variants"]] == [
        (held, 50, 1),
        ("others", 150, 21),
    ]


async def test_analysis_of_a_holdout_is_that_of_the_same_counts(service: Service) -> None:
    held, _ = await running_twice(service)
    buyers = {held: 5, "test": 30}
    await service.capture(
        *(exposure(f"{name}-{n}", name) for name, count in ((held, 50), ("test", 150)) for n in range(count)),
        *(event("purchase", f"{name}-{n}") for name, count in buyers.items() for n in range(count)),
    )
    counts = [(held, 50, 5), ("others", 150, 30)]
    variants = [{"key": key, "number_of_samples": n, "sum": s, "sum_squares": s} for key, n, s in counts]

    analysis = (await analysis_of(service, held))["metric"]["analysis"]
    config = {"baseline_variant_key": held}
    expected = await service.client.post(
        f"{service.project}/experiments/analyze/",
        json={"metric_type": "mean", "variants": variants, "stats_config": config},
        headers={"Authorization": f"Bearer {service.key}"},
    )

    assert analysis["variants"] == expected.json()["variants"]


async def test_contacts_while_the_flag_is_off_do_not_count(service: Service) -> None:
    held, [first, second] = await running_twice(service)
    for experiment in (first, second):
        await service.patch(f"/feature_flags/{experiment['feature_flag']}/", {"active": False})
    flag = f"/feature_flags/{first['feature_flag']}/"
    log = (await service.read(f"{flag}activity/"))["results"]
    off_at = max(entry["created_at"] for entry in log)
    await service.capture(exposure("ann", "test", off_at), exposure("bob", held))

    assert (await analysis_of(service, held))["persons"] == {"held_out": 1, "others": 0, "both": 0}


async def test_saved_metric_is_compared_too_and_unknown_ones_are_refused(service: Service) -> None:
    held, _ = await running_twice(service)
    source = {"kind": "EventsNode", "event": "purchase"}
    saved = await service.post(
        "/experiment_saved_metrics/", {"name": "P", "query": {"metric_type": "funnel", "series": [source]}}
    )
    await service.capture(exposure("ann", "test"), exposure("bob", held), event("purchase", "ann"))
    path = f"/experiment_holdouts/{held.removeprefix('holdout-')}/analysis/"
    unused = await hold(service)

    analysis = await analysis_of(service, held, saved.json()["id"])
    refused = [await service.get(path, **asked) for asked in ({}, {"metric": "primary"}, {"metric": 999_999}, {"x": 1})]
    empty = await service.get(f"/experiment_holdouts/{unused['id']}/analysis/", metric=MEAN["uuid"])

    assert [one["sum"] for one in analysis["metric"]["analysis"]["variants"]] == [0, 1]
    assert [one.status_code for one in refused] == [400] * 4
    assert [one.json()["attr"] for one in refused] == ["metric", "metric", "metric", "x"]
    assert (empty.status_code, empty.json()["code"]) == (400, "no_data")
