"""Attribution by exposure: the variant of an event is what its person was exposed to, whatever the event says."""

from typing import Any

import pytest

from tests.support.service import FUNNEL, TREND, Service, event, exposure

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]

DAU = {"insight": "TRENDS", "events": [{"id": "purchase", "math": "dau"}]}
BY_EXPOSURE = {"attribution": "exposure"}


def persons(variant: str, count: int, buyers: int) -> list[dict[str, object]]:
    """Return the events of persons who were exposed and came, some of whom bought; not one names a variant."""
    names = [f"{variant}-{number}" for number in range(count)]
    return [
        *(exposure(name, variant) for name in names),
        *(event("$pageview", name) for name in names),
        *(event("purchase", name, "2022-11-02T11:00:00Z") for name in names[:buyers]),
    ]


async def send_all(service: Service) -> None:
    for events in (persons("control", 200, 25), persons("test", 200, 40)):
        await service.capture(*events)


def reached(results: Any) -> dict[str, list[int]]:
    return {funnel[0]["breakdown_value"][0]: [step["count"] for step in funnel] for funnel in results["insight"]}


def of_variants(analysis: Any, index: int = 0) -> dict[str, tuple[float, float]]:
    variants = analysis["metrics"][index]["analysis"]["variants"]
    return {one["key"]: (one["number_of_samples"], one["sum"]) for one in variants}


async def test_funnel_of_events_without_the_flags_property_is_counted_by_exposure(service: Service) -> None:
    experiment = await service.create_experiment(
        parameters=BY_EXPOSURE, secondary_metrics=[{"name": "Visits", "filters": TREND}, {"filters": FUNNEL}]
    )
    await send_all(service)
    path = f"/experiments/{experiment['id']}"

    results = await service.read(f"{path}/results/", explain="true")
    analysis = await service.read(f"{path}/analysis/")
    by_day = await service.read(f"{path}/timeseries_results/")
    last = by_day["timeseries"]["2022-11-15"]["variants"]
    snapshot = (await service.post(f"{path}/snapshots/", {})).json()

    assert reached(results) == {"control": [200, 25], "test": [200, 40]}
    assert results["explain"]["attribution"] == analysis["attribution"] == "exposure"
    assert results["health"] == {"status": "healthy", "findings": []}
    assert of_variants(analysis) == {"control": (200, 25), "test": (200, 40)}
    assert of_variants(analysis, 1) == {"control": (200, 200), "test": (200, 200)}
    assert {one["key"]: one["sum"] for one in last} == {"control": 25, "test": 40}
    assert (await service.read(f"{path}/secondary_results/", id=0))["result"] == {"control": 200, "test": 200}
    assert (await service.read(f"{path}/secondary_results/", id=1))["result"] == {"control": 0.125, "test": 0.2}
    assert reached(snapshot["results"]) == reached(results)
    assert (await service.read(f"{path}/decision/"))["progress"]["exposed"] == 400


async def test_events_tell_the_variant_unless_exposure_is_asked_for(service: Service) -> None:
    experiment = await service.create_experiment()
    await send_all(service)
    path = f"/experiments/{experiment['id']}"

    usual = await service.get(f"{path}/results/")
    usual_analysis = await service.read(f"{path}/analysis/")
    health = await service.read(f"{path}/health/")
    look = await service.read(f"{path}/results/", attribution="exposure")
    await service.patch("/", {"default_attribution": "exposure"})
    by_default = await service.read(f"{path}/results/")
    look_back = await service.get(f"{path}/results/", attribution="events")

    assert usual.status_code == look_back.status_code == 400
    assert look_back.json() == usual.json()
    assert usual.json()["code"] == "no_data"
    assert of_variants(usual_analysis) == {"control": (0, 0), "test": (0, 0)}
    assert "`parameters.attribution` to `exposure`" in health["findings"][0]["actions"][0]
    assert health["findings"][0]["code"] == "MISSING_FLAG_PROPERTY"
    assert reached(look) == reached(by_default) == {"control": [200, 25], "test": [200, 40]}


async def test_trend_by_exposure_weighs_by_the_persons_whose_events_it_counts(service: Service) -> None:
    experiment = await service.create_experiment(filters=DAU, parameters=BY_EXPOSURE)
    await send_all(service)
    await service.capture(
        exposure("both", "control"),
        exposure("both", "test"),
        event("purchase", "both"),
        event("purchase", "control-199", "2022-11-02T08:59:59Z"),  # before the exposure
        event("purchase", "never exposed", variant="test"),
    )

    results = await service.read(f"/experiments/{experiment['id']}/results/", explain="true")

    assert {one["key"]: (one["count"], one["absolute_exposure"]) for one in results["variants"]} == {
        "control": (25, 200),
        "test": (40, 200),
    }
    assert results["explain"]["counts"] == {
        "unit": "events",
        "variants": {"control": 25, "test": 40},
        "without_variant": 1,
        "unknown_variant": 1,
    }


async def test_companies_are_attributed_by_their_exposure(service: Service) -> None:
    experiment = await service.create_experiment(
        parameters={**BY_EXPOSURE, "aggregation_group_type_index": 0},
        filters={**FUNNEL, "aggregation_group_type_index": 0},
        secondary_metrics=[{"filters": TREND}],
    )
    for company, variant in (("acme", "control"), ("umbrella", "test")):
        of_company = [exposure("ann", variant), event("$pageview", "bob"), event("purchase", "cleo")]
        for one in of_company:
            one["properties"]["$groups"] = {"company": company}  # type: ignore[index]  # of the helper's mapping
        await service.capture(*of_company)

    results = await service.get(f"/experiments/{experiment['id']}/results/")

    assert results.status_code == 200, results.text
    assert reached(results.json()) == {"control": [1, 1], "test": [1, 1]}


async def test_what_units_do_not_do_is_not_attributed_by_exposure(service: Service) -> None:
    sessions = {"insight": "TRENDS", "events": [{"id": "$pageview", "math": "unique_session"}]}
    experiment = await service.create_experiment(filters=sessions, parameters=BY_EXPOSURE)
    path = f"/experiments/{experiment['id']}"

    refused = await service.get(f"{path}/results/")
    health = await service.read(f"{path}/health/")

    assert (refused.status_code, refused.json()["attr"]) == (400, "filters")
    assert "persons" in refused.json()["detail"]
    assert health["findings"][0]["detail"] == refused.json()["detail"]


async def test_health_tells_events_of_strangers_from_no_events(service: Service) -> None:
    experiment = await service.create_experiment(filters=TREND, parameters=BY_EXPOSURE)
    path = f"/experiments/{experiment['id']}/health/"

    await service.capture(event("$pageview", "ann"))
    unexposed = await service.read(path)
    await service.capture(exposure("bob", "control"), exposure("cleo", "test"))
    strangers = await service.read(path)

    assert [one["code"] for one in unexposed["findings"]] == ["ZERO_EXPOSURES"]
    assert [(one["code"], one["subcode"]) for one in strangers["findings"]] == [("METRIC_NO_EVENTS", "unexposed")]


@pytest.mark.parametrize("value", ["exposures", "", 1, ["events"]])
async def test_unknown_attribution_is_refused_by_name(service: Service, value: object) -> None:
    body = {"name": "B", "feature_flag_key": "other", "filters": FUNNEL, "parameters": {"attribution": value}}
    experiment = await service.create_experiment()

    created = await service.post("/experiments/", body)
    changed = await service.patch(f"/experiments/{experiment['id']}/", {"parameters": {"attribution": value}})
    looked = await service.get(f"/experiments/{experiment['id']}/analysis/", attribution=value)
    default = await service.patch("/", {"default_attribution": value})

    for response, attr in (
        (created, "parameters"),
        (changed, "parameters"),
        (looked, "attribution" if not isinstance(value, list) else None),
        (default, "default_attribution"),
    ):
        if attr is not None:
            assert (response.status_code, response.json()["attr"]) == (400, attr), response.text


def trend(math: str, **more: object) -> dict[str, Any]:
    return {"insight": "TRENDS", "events": [{"id": "purchase", "math": math, **more}]}


SAME_EITHER_WAY: list[dict[str, Any]] = [
    {"filters": FUNNEL},
    {"filters": {**FUNNEL, "funnel_order_type": "strict"}},
    {"filters": {**FUNNEL, "funnel_order_type": "unordered"}},
    {"filters": {**FUNNEL, "exclusions": [{"id": "refund", "funnel_from_step": 0, "funnel_to_step": 1}]}},
    {"filters": {**FUNNEL, "breakdown_attribution_type": "step", "breakdown_attribution_value": 1}},
    {"filters": {**FUNNEL, "breakdown_attribution_type": "all_events"}},
    *({"filters": trend(math)} for math in ("total", "dau", "weekly_active", "avg_count_per_actor")),
    *({"filters": trend(math, math_property="amount")} for math in ("sum", "p90", "max")),
    {"filters": trend("dau"), "exposure_criteria": {"multiple_variant_handling": "first_seen"}},
    {
        "filters": trend("total"),
        "exposure_criteria": {"activation_config": {"kind": "ExperimentEventExposureConfig", "event": "$pageview"}},
    },
    {"filters": {**trend("total"), "filter_test_accounts": True}},
    {
        "filters": trend("total"),
        "parameters": {"custom_exposure_filter": {"events": [{"id": "$pageview", "math": "dau"}]}},
    },
]


async def test_attribution_changes_nothing_where_events_name_what_was_shown(service: Service) -> None:
    staff = {"key": "email", "value": "@staff", "operator": "not_icontains", "type": "person"}
    await service.patch("/", {"test_account_filters": [staff]})
    experiment = await service.create_experiment()
    captured = []
    for variant, buyers in (("control", 3), ("test", 5)):
        for number in range(8):
            name = f"{variant}-{number}"
            profile = {"$set": {"email": f"{number}@{'staff' if number == 1 else 'example'}.com"}}
            captured += [exposure(name, variant), event("$pageview", name, variant=variant, properties=profile)]
            if number == 2:
                captured.append(event("refund", name, "2022-11-03T10:00:00Z", variant=variant))
            for day in range(4, 4 + (number < buyers) * (number + 1)):
                amount = {"amount": number + 1.5}
                captured.append(
                    event("purchase", name, f"2022-11-{day:02}T10:00:00Z", variant=variant, properties=amount)
                )
    await service.capture(*captured)
    path = f"/experiments/{experiment['id']}/"

    for fields in SAME_EITHER_WAY:
        changed = await service.patch(path, {"parameters": {}, "exposure_criteria": None, **fields})
        by_events = await service.read(f"{path}results/", attribution="events")
        by_exposure = await service.read(f"{path}results/", attribution="exposure")

        assert changed.status_code == 200, changed.text
        assert by_events["variants"], fields
        assert by_exposure == by_events, fields
