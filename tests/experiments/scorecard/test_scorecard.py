"""Analysis, time series and decision through the API."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.service import FUNNEL, TREND, Service, event, exposure

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]

DAYS = ["2022-11-01", "2022-11-02", "2022-11-03", "2022-11-04"]
END = "2022-11-04T23:59:59Z"


def trend(math: str = "total", name: str = "purchase", **more: object) -> dict[str, object]:
    return {"insight": "TRENDS", "events": [{"id": name, "type": "events", "math": math, **more}]}


def shown(count: int, variant: str, day: int = 1) -> list[dict[str, object]]:
    return [exposure(f"{variant}-{number}", variant, f"2022-11-0{day}T08:00:00Z") for number in range(count)]


def bought(persons: Sequence[int], variant: str, day: int = 2, price: float = 10.0) -> list[dict[str, object]]:
    time = f"2022-11-0{day}T09:00:00Z"
    return [event("purchase", f"{variant}-{number}", time, properties={"price": price}) for number in persons]


def viewed(count: int, buyers: int, variant: str) -> list[dict[str, object]]:
    """Return a funnel's events: `count` persons enter, `buyers` of them buy."""
    entered = [event("$pageview", f"{variant}-{n}", "2022-11-02T09:00:00Z", variant=variant) for n in range(count)]
    return entered + [event("purchase", f"{variant}-{n}", "2022-11-03T09:00:00Z") for n in range(buyers)]


async def experiment_with(service: Service, events: Sequence[dict[str, object]], **fields: Any) -> Any:
    experiment = await service.create_experiment(**{"end_date": END, **fields})
    for start in range(0, len(events), 500):
        await service.capture(*events[start : start + 500])
    return experiment


async def read(service: Service, experiment: Any, what: str, **parameters: Any) -> Any:
    return await service.read(f"/experiments/{experiment['id']}/{what}/", **parameters)


def sums(analysis: Any) -> dict[str, list[float]]:
    return {one["key"]: [one["number_of_samples"], one["sum"], one["sum_squares"]] for one in analysis["variants"]}


async def test_persons_of_a_trend_are_compared_by_what_they_did_after_their_first_exposure(service: Service) -> None:
    experiment = await experiment_with(
        service,
        [
            *shown(3, "control"),
            *shown(2, "test"),
            *bought([0, 0, 1], "control"),
            *bought([0], "test", price=4.5),
            event("purchase", "test-1", "2022-11-01T07:59:59Z"),  # before
            event("purchase", "stranger"),
        ],
        filters=trend(),
        secondary_metrics=[
            {"name": "Revenue", "filters": trend("sum", math_property="price")},
            {"name": "Buyers", "filters": trend("dau")},
            {"name": "Price", "filters": trend("avg", math_property="price")},
        ],
    )

    body = await read(service, experiment, "analysis")

    analyses = {metric["name"]: metric["analysis"] for metric in body["metrics"]}
    assert sums(analyses["Number of purchase"]) == {"control": [3, 3, 5], "test": [2, 1, 1]}
    assert sums(analyses["Revenue"]) == {"control": [3, 30, 500], "test": [2, 4.5, 20.25]}
    assert sums(analyses["Buyers"]) == {"control": [3, 2, 2], "test": [2, 1, 1]}
    assert [one["mean"] for one in analyses["Price"]["variants"]] == [10, 4.5]
    assert [one["analysis"]["metric_type"] for one in body["metrics"]] == ["mean", "mean", "funnel", "ratio"]
    assert body["date_range"]["date_to"] == "2022-11-04T23:59:59+00:00"


async def test_analysis_is_what_analyze_makes_of_the_same_counts(service: Service) -> None:
    config = {"method": "frequentist", "sequential": {"enabled": False}, "confidence_level": 0.9}
    experiment = await experiment_with(
        service, [*viewed(120, 30, "control"), *viewed(110, 45, "test")], stats_config=config
    )

    [metric] = (await read(service, experiment, "analysis"))["metrics"]

    counts = [
        {"key": "control", "success_count": 30, "failure_count": 90},
        {"key": "test", "success_count": 45, "failure_count": 65},
    ]
    analyzed = await service.post(
        "/experiments/analyze/", {"metric_type": "funnel", "variants": counts, "stats_config": config}
    )
    assert metric["analysis"] == analyzed.json()
    results = await read(service, experiment, "results")
    assert [[one["success_count"], one["failure_count"]] for one in results["variants"]] == [[30, 90], [45, 65]]


@pytest.mark.parametrize("filters", [FUNNEL, trend(), trend("sum", math_property="price")])
async def test_time_series_ends_with_the_analysis(service: Service, filters: dict[str, object]) -> None:
    experiment = await experiment_with(
        service,
        [
            *viewed(4, 2, "control"),
            *viewed(5, 4, "test"),
            *shown(4, "control", day=1),
            *shown(5, "test", day=3),
            *bought([0, 1], "test", day=4, price=2.5),
        ],
        filters=filters,
    )

    series = await read(service, experiment, "timeseries_results")
    [metric] = (await read(service, experiment, "analysis"))["metrics"]

    assert list(series["timeseries"]) == DAYS
    assert series["timeseries"][DAYS[-1]] == metric["analysis"]
    assert (series["status"], metric["status"]) == ("ok", "ok")


async def test_time_series_shows_the_analysis_of_each_day(service: Service) -> None:
    experiment = await experiment_with(service, [*viewed(4, 2, "control"), *viewed(5, 4, "test")])

    series = (await read(service, experiment, "timeseries_results"))["timeseries"]

    assert [sums(series[day])["test"][:2] for day in DAYS] == [[0, 0], [5, 0], [5, 4], [5, 4]]


async def test_clear_gain_is_shipped_and_a_harmed_guardrail_needs_review(service: Service) -> None:
    events = [*shown(400, "control"), *shown(400, "test")]
    events += [*bought(range(40), "control"), *bought(range(200), "test")]
    events += [event("complaint", f"test-{n}", "2022-11-03T09:00:00Z") for n in range(200)]
    events += [event("complaint", f"control-{n}", "2022-11-03T09:00:00Z") for n in range(60)]
    guardrail = {"name": "Complaints", "role": "guardrail", "goal": "decrease", "filters": trend("dau", "complaint")}
    criteria = {"minimum_runtime_days": 1}
    experiment = await experiment_with(service, events, filters=trend("dau"), decision_criteria=criteria)

    shipped = await read(service, experiment, "decision")
    await service.patch(f"/experiments/{experiment['id']}/", {"secondary_metrics": [guardrail]})
    reviewed = await read(service, experiment, "decision")

    assert (shipped["recommendation"], shipped["variant_key"]) == ("ship", "test")
    assert shipped["summary"].endswith("Ship test.")
    assert (reviewed["recommendation"], reviewed["variant_key"]) == ("review", "control")
    assert [reason["code"] for reason in reviewed["reasons"]] == ["metric_improved", "guardrail_harmed"]


async def test_broken_split_blocks_every_decision(service: Service) -> None:
    experiment = await experiment_with(
        service, [*shown(300, "control"), *shown(150, "test"), *bought(range(100), "test")], filters=trend("dau")
    )

    decision = await read(service, experiment, "decision")
    analysis = await read(service, experiment, "analysis")

    assert analysis["sample_ratio_mismatch"]["mismatch"]
    assert decision["recommendation"] == "blocked"
    assert [reason["code"] for reason in decision["reasons"]] == ["sample_ratio_mismatch"]
    warned = "Do not trust these figures yet: the samples are not split as planned (p < 0.0001). test leads"
    assert analysis["metrics"][0]["analysis"]["conclusion"].startswith(warned)
    assert (await service.post(f"/experiments/{experiment['id']}/ship_variant/", {"variant_key": "test"})).is_success
    assert f"What the data say: {warned}" in (await read(service, experiment, "decision"))["summary"]


async def test_metrics_that_cannot_be_analyzed_say_why(service: Service) -> None:
    experiment = await experiment_with(
        service,
        [],
        filters=trend("median", math_property="price"),
        secondary_metrics=[{"name": "Paths", "filters": {"insight": "PATHS"}}, "nonsense", {"filters": TREND}],
    )

    metrics = (await read(service, experiment, "analysis"))["metrics"]
    decision = await read(service, experiment, "decision")

    assert [metric["status"] for metric in metrics] == [
        "unavailable",
        "unavailable",
        "unavailable",
        "insufficient_data",
    ]
    assert metrics[0]["detail"] == "Persons cannot be compared by median: use total, dau, sum or avg."
    assert decision["recommendation"] == "blocked"


@pytest.mark.parametrize(
    ("config", "attr"),
    [
        ({"confidence_level": 2}, "stats_config__confidence_level"),
        ({"method": "magic"}, "stats_config__method"),
        ("nonsense", "stats_config"),
    ],
)
async def test_invalid_configuration_is_refused(service: Service, config: object, attr: str) -> None:
    experiment = await service.create_experiment()

    answer = await service.patch(f"/experiments/{experiment['id']}/", {"stats_config": config})

    assert (answer.status_code, answer.json()["attr"]) == (400, attr)


async def test_unknown_baseline_is_refused(service: Service) -> None:
    experiment = await service.create_experiment(stats_config={"baseline_variant_key": "gone"})

    answer = await service.get(f"/experiments/{experiment['id']}/analysis/")

    assert (answer.status_code, answer.json()["detail"]) == (400, "the baseline 'gone' is not one of the variants")


@pytest.mark.each_database
async def test_infinite_sums_are_reported(service: Service) -> None:
    events = [*shown(2, "control"), *shown(2, "test"), *bought([0, 1], "test", price=1e300)]
    experiment = await experiment_with(service, events, filters=trend("sum", math_property="price"))

    [metric] = (await read(service, experiment, "analysis"))["metrics"]

    assert (metric["status"], metric["detail"]) == ("unavailable", "The sums are not finite.")


async def test_ratio_by_denominators_below_zero_says_so(service: Service) -> None:
    bought_and_returned = [*bought([0, 1], "control"), *bought([0], "test"), *bought([1], "test", price=-20)]
    spent = {"kind": "EventsNode", "event": "purchase", "math": "sum", "math_property": "price"}
    orders = {"kind": "EventsNode", "event": "purchase"}
    metrics = [{"metric_type": "ratio", "name": "Orders by amount", "numerator": orders, "denominator": spent}]
    events = [*shown(2, "control"), *shown(2, "test"), *bought_and_returned]
    experiment = await experiment_with(service, events, filters={}, metrics=metrics)

    [metric] = (await read(service, experiment, "analysis"))["metrics"]
    decision = await read(service, experiment, "decision")

    assert (metric["status"], metric["analysis"]) == ("unavailable", None)
    assert metric["detail"].startswith("The denominators of a variant add up to less than 0")
    assert metric["detail"] in decision["summary"]


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        ({"metric_type": "funnel", "series": [{"kind": "EventsNode", "event": "refund"}]}, "too few events"),
        ({"metric_type": "funnel", "series": [{"kind": "EventsNode", "event": "purchase"}]}, "too few events"),
        ({"metric_type": "mean", "source": {"kind": "EventsNode", "event": "purchase"}}, "all persons are the same"),
    ],
    ids=["nobody", "everybody", "equal"],
)
async def test_verdict_is_not_said_to_need_persons_where_it_needs_something_else(
    service: Service, metric: dict[str, Any], why: str
) -> None:
    events = [one for key in ("control", "test") for one in (*shown(120, key), *bought(range(120), key))]
    experiment = await experiment_with(service, events, filters={}, metrics=[{**metric, "name": "Sold"}])

    [reason] = [one for one in (await read(service, experiment, "decision"))["reasons"] if one["metric_id"]]

    assert why in reason["detail"]
    assert "100" not in reason["detail"]


async def test_lowest_variant_leads_and_is_most_probably_best_where_the_goal_is_to_decrease(service: Service) -> None:
    events = [*shown(150, "control"), *shown(150, "test"), *bought(range(90), "control"), *bought(range(20), "test")]
    criteria = {"goal": "decrease", "minimum_runtime_days": 0}
    experiment = await experiment_with(service, events, filters=trend("dau"), decision_criteria=criteria)

    decision = await read(service, experiment, "decision")

    assert (decision["recommendation"], decision["variant_key"]) == ("ship", "test")
    assert decision["summary"].startswith(
        "test leads in share of persons (less is better), being the best with a probability of over 99.99%: 13.3% "
        "against 60.0% of control (\N{MINUS SIGN}77.8%)."
    )
    [metric] = (await read(service, experiment, "analysis"))["metrics"]
    control, test = metric["analysis"]["variants"]
    assert (metric["analysis"]["goal"], metric["analysis"]["leader"]) == ("decrease", "test")
    assert [test["probability_best"], test["chance_to_win"], control["probability_best"]] == pytest.approx([1, 1, 0])
    assert [test["expected_loss"], control["expected_loss"]] == pytest.approx([0, 70 / 150], abs=0.01)
    counts = {"metric_type": "funnel", "goal": "decrease", "variants": metric["counts"]}
    assert (await service.post("/experiments/analyze/", counts)).json() == metric["analysis"]
