"""Means adjusted by what persons did before their exposure (CUPED), and the test of that for bias."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.service import Service, event, exposure

pytestmark = pytest.mark.one_database

PURCHASES = {
    "kind": "ExperimentMetric",
    "name": "Purchases",
    "metric_type": "mean",
    "source": {"kind": "EventsNode", "event": "purchase"},
}
BOUGHT = {"kind": "ExperimentMetric", "name": "Bought", "metric_type": "funnel", "series": [PURCHASES["source"]]}
BUYERS = {**PURCHASES, "name": "Buyers", "source": {"kind": "EventsNode", "event": "purchase", "math": "dau"}}
CUPED = {"cuped": {"enabled": True, "lookback_days": 10}}
PERSONS = 60
# When a person bought, and whether that belongs to the ten days before the exposure.
EARLIER, BEFORE, AFTER = "2022-10-23T08:59:59Z", "2022-10-23T09:00:00Z", "2022-11-03T00:00:00Z"


def before(number: int, variant: str) -> int:
    return number % 4 + (number % 7 == 0 and variant == "test")


def after(number: int, variant: str) -> int:
    return number % 4 + number % 3 + (number % 5 == 0 and variant == "test")


def events_of(number: int, variant: str) -> list[dict[str, object]]:
    person = f"{variant}-{number}"
    times = [EARLIER, *[BEFORE] * before(number, variant), *[AFTER] * after(number, variant)]
    return [exposure(person, variant), *(event("purchase", person, time) for time in times)]


def sums(variant: str) -> dict[str, object]:
    main = [after(number, variant) for number in range(PERSONS)]
    covariate = [before(number, variant) for number in range(PERSONS)]
    return {
        "key": variant,
        "number_of_samples": PERSONS,
        "sum": sum(main),
        "sum_squares": sum(one**2 for one in main),
        "covariate_sum": sum(covariate),
        "covariate_sum_squares": sum(one**2 for one in covariate),
        "main_covariate_sum_product": sum(one * other for one, other in zip(main, covariate, strict=True)),
    }


async def experiment_with(service: Service, metrics: Sequence[object], stats_config: object = CUPED) -> str:
    experiment = await service.create_experiment(filters={}, metrics=metrics, stats_config=stats_config)
    return f"/experiments/{experiment['id']}"


async def test_what_happened_between_exposure_and_activation_is_no_covariate(service: Service) -> None:
    activation = {"activation_config": {"kind": "ExperimentEventExposureConfig", "event": "opened"}}
    experiment = await service.create_experiment(
        filters={}, metrics=[PURCHASES], stats_config=CUPED, exposure_criteria=activation
    )
    await service.capture(
        event("purchase", "ann", "2022-11-01T08:00:00Z"),
        exposure("ann", "test", "2022-11-01T09:00:00Z"),
        *[event("purchase", "ann", "2022-11-01T10:00:00Z")] * 3,  # which the variant may have brought about
        event("opened", "ann", "2022-11-01T11:00:00Z"),
        event("purchase", "ann", "2022-11-01T12:00:00Z"),
    )

    [metric] = (await service.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"]

    assert (metric["counts"][1]["sum"], metric["counts"][1]["covariate_sum"]) == (1, 1)


async def test_adjusted_mean_of_events_is_the_analysis_of_its_sums(service: Service) -> None:
    path = await experiment_with(service, [PURCHASES])
    for variant in ("control", "test"):
        await service.capture(*(one for number in range(PERSONS) for one in events_of(number, variant)))

    analysis = (await service.read(f"{path}/analysis/"))["metrics"][0]["analysis"]
    body = {"metric_type": "mean", "variants": [sums("control"), sums("test")]}
    expected = (await service.post("/experiments/analyze/", body)).json()

    assert analysis == expected
    assert analysis["variants"][1]["variance_reduction"] > 0.3
    assert (await service.read(f"{path}/health/"))["findings"] == []


@pytest.mark.parametrize("stats_config", [None, {"cuped": None}, {"cuped": {"enabled": False}}])
async def test_means_are_not_adjusted_unless_asked(service: Service, stats_config: object) -> None:
    path = await experiment_with(service, [PURCHASES], stats_config)
    for variant in ("control", "test"):
        await service.capture(*(one for number in range(2) for one in events_of(number, variant)))

    variants = (await service.read(f"{path}/analysis/"))["metrics"][0]["analysis"]["variants"]

    assert [one["theta"] for one in variants] == [None, None]


@pytest.mark.each_database
@pytest.mark.parametrize(
    ("stats_config", "is_adjusted"),
    [(None, True), ({}, True), ({"cuped": None}, False), ({"cuped": {"enabled": False}}, False), (CUPED, True)],
)
async def test_project_decides_about_experiments_that_do_not(
    service: Service, stats_config: object, *, is_adjusted: bool
) -> None:
    response = await service.patch("/", {"default_cuped": {"lookback_days": 10}})
    assert response.json()["default_cuped"] == {"enabled": True, "lookback_days": 10}
    path = await experiment_with(service, [PURCHASES], stats_config)
    for variant in ("control", "test"):
        await service.capture(*(one for number in range(3) for one in events_of(number, variant)))

    [metric] = (await service.read(f"{path}/analysis/"))["metrics"]

    covariates = [one.get("covariate_sum") for one in metric["counts"]]
    assert covariates == ([sums_of(3, "control"), sums_of(3, "test")] if is_adjusted else [None, None])


def sums_of(persons: int, variant: str) -> int:
    return sum(before(number, variant) for number in range(persons))


async def test_adjusted_ratio_of_events_is_the_analysis_of_its_sums(service: Service) -> None:
    ratio = {"kind": "ExperimentMetric", "metric_type": "ratio", "numerator": PURCHASES["source"]}
    path = await experiment_with(service, [{**ratio, "denominator": {"kind": "EventsNode", "event": "visit"}}])
    for variant in ("control", "test"):
        for number in range(PERSONS):
            visits = [event("visit", f"{variant}-{number}", time) for time in (BEFORE, AFTER)]
            await service.capture(*events_of(number, variant), *visits, *visits[: number % 2])

    [metric] = (await service.read(f"{path}/analysis/"))["metrics"]
    expected = await service.post("/experiments/analyze/", {"metric_type": "ratio", "variants": metric["counts"]})

    assert metric["analysis"] == expected.json()
    assert metric["analysis"]["variants"][1]["variance_reduction"] > 0.1
    part = {name: value for name, value in metric["counts"][0].items() if name != "covariate_sum"}
    refused = await service.post("/experiments/analyze/", {"metric_type": "ratio", "variants": [part, part]})
    assert refused.json()["detail"] == "A covariate needs covariate_sum too."


async def test_adjusted_shares_are_analyzed_as_means_of_0_and_1(service: Service) -> None:
    path = await experiment_with(service, [BOUGHT, BUYERS])
    persons = {  # who bought, and who had bought before
        variant: [(n % 2 == 0 or n % every == 0, n % 2 == 0 and n % 5 > 0) for n in range(PERSONS)]
        for variant, every in (("control", 7), ("test", 3))
    }
    for variant, shares in persons.items():
        for number, moments in enumerate(shares):
            times = [time for time, did in zip((AFTER, BEFORE), moments, strict=True) if did]
            name = f"{variant}-{number}"
            await service.capture(exposure(name, variant), *(event("purchase", name, time) for time in times))
    of_means = [
        {
            "key": variant,
            "number_of_samples": PERSONS,
            "sum": sum(bought for bought, _ in shares),
            "sum_squares": sum(bought for bought, _ in shares),
            "covariate_sum": sum(had for _, had in shares),
            "covariate_sum_squares": sum(had for _, had in shares),
            "main_covariate_sum_product": sum(bought and had for bought, had in shares),
        }
        for variant, shares in persons.items()
    ]

    metrics = (await service.read(f"{path}/analysis/"))["metrics"]
    expected = (await service.post("/experiments/analyze/", {"metric_type": "mean", "variants": of_means})).json()

    for metric in metrics:
        assert metric["analysis"]["metric_type"] == "funnel"
        assert metric["analysis"]["variants"] == expected["variants"]
    assert expected["variants"][1]["variance_reduction"] > 0.3
    assert metrics[0]["step_counts"]["control"] == [PERSONS, of_means[0]["sum"]]


async def test_shares_of_0_are_not_adjusted(service: Service) -> None:
    covariate = {"covariate_sum": 40, "covariate_sum_squares": 40, "main_covariate_sum_product": 0}
    variants = [
        {"key": "control", "success_count": 0, "failure_count": 200},
        {"key": "test", "success_count": 30, "failure_count": 170},
    ]

    plain, adjusted = [
        (await service.post("/experiments/analyze/", {"metric_type": "funnel", "variants": sent})).json()
        for sent in (variants, [{**one, **covariate} for one in variants])
    ]

    assert plain["variants"][1]["sequential_interval"] is not None
    without = [{**one, "covariate_p_value": None} for one in adjusted["variants"]]
    assert without == plain["variants"]


async def test_health_finds_variants_that_differed_before_the_exposure(service: Service) -> None:
    visits = {**PURCHASES, "name": "Visits", "source": {"kind": "EventsNode", "event": "visit"}}
    funnel = {**BOUGHT, "funnel_order_type": "unordered"}  # which is not adjusted
    path = await experiment_with(service, [funnel, PURCHASES, visits])
    captured = []
    for variant, extra in (("control", 0), ("test", 2)):
        for number in range(PERSONS):
            person = f"{variant}-{number}"
            captured += [exposure(person, variant), *[event("purchase", person)] * (number % 3)]
            captured += [event("purchase", person, BEFORE)] * (number % 4 + extra)
            captured += [event("visit", person, BEFORE)] * (number % 4)
    await service.capture(*captured)

    health = await service.read(f"{path}/health/")
    snapshot = (await service.post(f"{path}/snapshots/", {})).json()
    analysis: Any = await service.read(f"{path}/analysis/")

    [finding] = health["findings"]
    assert finding["code"] == "PRE_EXPOSURE_BIAS"
    biased = analysis["metrics"][1]["analysis"]["variants"][1]
    assert finding["evidence"] == {
        "metric_id": analysis["metrics"][1]["metric_id"],
        "p_values": {"test": biased["covariate_p_value"]},
    }
    assert "pre-exposure-bias" in biased["validation_failures"]
    assert len(finding["actions"]) == 3
    assert "PRE_EXPOSURE_BIAS" in [one["code"] for one in snapshot["health"]["findings"]]
