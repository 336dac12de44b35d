"""What analysis, series and health say of typed metrics, beside their figures."""

from typing import Any

import pytest

from tests.experiments.scorecard.test_typed_metrics import END, at, funnel, mean, node, retention, revenue
from tests.experiments.scorecard.test_typed_metrics_follow_the_events import expect_same_of_analyze
from tests.support.service import Service, event, exposure

pytestmark = pytest.mark.one_database

PATH = "/experiments/{}/"


async def run(service: Service, *events: dict[str, object], **fields: Any) -> tuple[str, list[Any]]:
    """Return the path of an experiment without filters, and its analysis by metric."""
    experiment = await service.create_experiment(**{"end_date": END, "filters": {}, **fields})
    if events:
        await service.capture(*events)
    path = PATH.format(experiment["id"])
    return path, (await service.read(f"{path}analysis/"))["metrics"]


def shopping() -> list[dict[str, object]]:
    """Twenty persons of each variant visit; every fourth buys for 10, and one of `test` for 1,000."""
    events = []
    for variant in ("control", "test"):
        for number in range(20):
            person = f"{variant}-{number}"
            events += [exposure(person, variant, at(1, "09:00:00")), event("visit", person, at(1, "10:00:00"))]
            if number % 4 == 0:
                amount = 1000 if (variant, number) == ("test", 0) else 10
                events.append(event("purchase", person, at(2, "10:00:00"), properties={"amount": amount}))
    return events


async def test_caps_steps_and_measures_are_shown(service: Service) -> None:
    ratio = {
        "metric_type": "ratio",
        "numerator": node("purchase", math="sum", math_property="amount"),
        "denominator": node("visit"),
        "denominator_outlier_handling": {"lower_bound_percentile": 0.5},
        "numerator_outlier_handling": {"upper_bound_percentile": 0.8, "ignore_zeros": True},
    }
    _, found = await run(
        service,
        *shopping(),
        metrics=[
            revenue(upper_bound_percentile=0.8, ignore_zeros=True, conversion_window=7),
            funnel("visit", "purchase"),
            funnel("visit", "purchase", funnel_order_type="unordered"),
            ratio,
            retention(node("visit"), node("purchase"), 1, 3),
            mean(threshold=2),
        ],
    )
    capped, ordered, unordered, ratio_found, retained, reached = found
    upper = {"lower": None, "upper": 10, "persons_below": 0, "persons_above": 1}

    assert capped["capped"] == upper
    assert capped["measure"] == (
        "sum of `amount` of `purchase`, a mean over exposed persons, within 7 days of the exposure"
    )
    assert capped["exposed"] == {"control": 20, "test": 20}
    assert ratio_found["capped"] is None
    assert ratio_found["numerator_capped"] == upper
    assert ratio_found["denominator_capped"] == {"lower": 1, "upper": None, "persons_below": 0, "persons_above": 0}
    assert ordered["step_counts"] == unordered["step_counts"] == {"control": [20, 20, 5], "test": [20, 20, 5]}
    assert ordered["step_names"] == ["exposure", "visit", "purchase"]
    assert unordered["step_names"] == ["exposure", "any 1 of the steps", "any 2 of the steps"]
    assert retained["step_counts"] == {"control": [20, 5], "test": [20, 5]}
    assert retained["measure"] == "share of persons with `purchase` 1 to 3 days after `visit`"
    assert reached["step_counts"] is None
    assert (
        reached["measure"] == "share of exposed persons whose number of `purchase` is at least 2, from the exposure on"
    )
    assert [one["metric_type"] for one in found] == ["mean", "funnel", "funnel", "ratio", "retention", "mean"]


async def test_both_numbers_of_persons_are_shown_where_only_matured_ones_count(service: Service) -> None:
    """The window of one metric is longer than since 2022."""
    _, [short, endless] = await run(
        service,
        *shopping(),
        metrics=[mean(conversion_window=1), mean(conversion_window=90_000)],
        only_count_matured_users=True,
    )

    analyzed = [[one["number_of_samples"] for one in metric["analysis"]["variants"]] for metric in (short, endless)]
    assert short["exposed"] == endless["exposed"] == {"control": 20, "test": 20}
    assert analyzed == [[20, 20], [0, 0]]
    assert "window was over" in endless["detail"]


async def test_adjusted_means_are_those_of_analyze(service: Service) -> None:
    before = [
        event("purchase", f"{variant}-{number}", "2022-10-30T10:00:00Z", properties={"amount": number % 3})
        for variant in ("control", "test")
        for number in range(20)
    ]

    _, [adjusted] = await run(
        service, *before, *shopping(), metrics=[revenue()], stats_config={"cuped": {"enabled": True}}
    )

    assert adjusted["counts"][1]["covariate_sum"] == 19
    assert adjusted["analysis"]["variants"][1]["theta"] is not None
    await expect_same_of_analyze(service, adjusted)


async def test_series_of_any_typed_metric_is_found_by_its_uuid(service: Service) -> None:
    path, found = await run(service, *shopping(), metrics=[mean()], metrics_secondary=[funnel("visit")])

    for metric in found:
        series = await service.read(f"{path}timeseries_results/", metric=metric["uuid"])
        assert series["metric_id"] == metric["metric_id"]
        assert list(series["timeseries"].values())[-1] == metric["analysis"]


async def test_results_without_filters_say_where_typed_metrics_are(service: Service) -> None:
    path, _ = await run(service, metrics=[mean()])

    for place, beginning in (("results", "Experiment has no target"), ("secondary_results", "Experiment has no sec")):
        refused = await service.get(f"{path}{place}/")

        assert refused.status_code == 400
        assert refused.json()["detail"].startswith(beginning)
        assert "`analysis/`" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("events", "metric", "status", "codes"),
    [
        ([], mean(), "waiting", ["ZERO_EXPOSURES"]),
        (shopping(), mean(), "healthy", []),
        (shopping(), mean("nothing"), "warning", ["METRIC_NO_EVENTS"]),
        (shopping(), retention(node("nothing"), node("visit"), 0, 1), "warning", ["METRIC_NO_EVENTS"]),
        (shopping(), revenue(upper_bound_percentile=0.1), "unhealthy", ["NO_METRIC"]),
    ],
)
async def test_health_judges_typed_target_metrics(
    service: Service, events: list[dict[str, object]], metric: dict[str, Any], status: str, codes: list[str]
) -> None:
    path, _ = await run(service, *events, metrics=[metric], end_date="2199-01-01T00:00:00Z")

    health = await service.read(f"{path}health/")

    assert [finding["code"] for finding in health["findings"] if finding["severity"] != "info"] == codes
    assert health["status"] == status


async def test_persons_whose_window_is_not_over_are_waited_for(service: Service) -> None:
    later = retention({"kind": "ExperimentExposureNode"}, node("visit"), 1_000, 1_000, retention_window_unit="week")
    path, _ = await run(service, *shopping(), metrics=[later], end_date=None, only_count_matured_users=True)

    health, decision = await service.read(f"{path}health/"), await service.read(f"{path}decision/")

    assert [finding["code"] for finding in health["findings"]] == ["METRIC_NOT_MATURE"]
    assert (health["status"], decision["recommendation"]) == ("healthy", "keep_running")
    assert "not one is counted yet" in decision["reasons"][0]["detail"]


async def test_fingerprint_is_that_of_what_is_counted(service: Service) -> None:
    named = mean(name="Purchases", goal="decrease", conversion_window=7, conversion_window_unit="day")
    named["source"]["custom_name"] = "Bought"
    experiment = await service.create_experiment(
        filters={}, metrics=[mean(conversion_window=7), named, mean(conversion_window=8), mean(math="dau")]
    )

    plain, same, *others = [metric["fingerprint"] for metric in experiment["metrics"]]

    assert plain == same
    assert len({plain, *others}) == 3


async def test_metrics_that_share_an_id_are_not_launched(service: Service) -> None:
    metric = mean(uuid="11111111-1111-4111-8111-111111111111")
    draft = await service.create_experiment(
        start_date=None, end_date=None, filters={}, metrics=[metric], metrics_secondary=[metric]
    )

    refused = await service.post(f"/experiments/{draft['id']}/launch/", {})

    assert (refused.status_code, refused.json()["attr"]) == (400, "metrics")
    assert "11111111" in refused.json()["detail"]
