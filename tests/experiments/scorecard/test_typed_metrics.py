"""Typed metrics, and who is exposed, through the API."""

import datetime as dt
from typing import Any

import pytest

from tests.support.service import Service, event, exposure

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]

END = "2022-11-05T00:00:00Z"
Body = dict[str, Any]


def node(name: str, **more: object) -> Body:
    return {"kind": "EventsNode", "event": name, **more}


def mean(counted: str = "purchase", math: str = "total", **more: Any) -> Body:
    source = {key: more.pop(key) for key in ("math_property", "math_group_type_index", "properties") if key in more}
    return {"metric_type": "mean", "source": node(counted, math=math, **source), **more}


def mean_of(source: Body) -> Body:
    return {"metric_type": "mean", "source": source}


def revenue(**more: Any) -> Body:
    return mean(math="sum", math_property="amount", **more)


def funnel(*names: str, **more: object) -> Body:
    return {"metric_type": "funnel", "series": [node(name) for name in names], **more}


def quantile(level: float, source: Body, **more: object) -> Body:
    return {"metric_type": "quantile", "quantile_level": level, "source": source, **more}


def retention(start: Body, completion: Body, first: int, last: int, unit: str = "day", **more: object) -> Body:
    return {
        "metric_type": "retention",
        "start_event": start,
        "completion_event": completion,
        "retention_window_start": first,
        "retention_window_end": last,
        "retention_window_unit": unit,
        **more,
    }


async def analyses(service: Service, *events: dict[str, object], **fields: Any) -> list[Any]:
    """Return the analysis of each metric of an experiment that has no filters."""
    experiment = await service.create_experiment(**{"end_date": END, "filters": {}, **fields})
    await service.capture(*events)
    body = await service.read(f"/experiments/{experiment['id']}/analysis/")
    for metric in body["metrics"]:
        assert metric["analysis"] is not None, metric["detail"]
    return [metric["analysis"] for metric in body["metrics"]]


def sums(analysis: Any) -> dict[str, list[float]]:
    return {one["key"]: [one["number_of_samples"], one["sum"]] for one in analysis["variants"]}


def at(day: int, time: str) -> str:
    return f"2022-11-0{day}T{time}Z"


def activated_stories() -> list[dict[str, object]]:
    """In each variant three persons are shown the flag, buy, are activated, and buy again; in `test` one buys twice."""
    events = []
    for variant in ("control", "test"):
        for number in range(3):
            person = f"{variant}-{number}"
            events += [
                exposure(person, variant, at(1, "12:00:00")),
                event("purchase", person, at(1, "12:10:00")),
                event("opened", person, at(1, "12:30:00")),
                event("purchase", person, at(1, "12:40:00")),
            ]
            if variant == "test":
                events.append(event("purchase", person, at(1, "12:50:00")))
    return [
        *events,
        exposure("never-activated", "control", at(1, "12:00:00")),
        event("opened", "before", at(1, "11:00:00")),
        exposure("before", "control", at(1, "12:00:00")),
        exposure("both", "control", at(1, "12:00:00")),
        exposure("both", "test", at(1, "12:05:00")),
        event("opened", "both", at(1, "12:30:00")),
    ]


ACTIVATED = {"activation_config": {"kind": "ExperimentEventExposureConfig", "event": "opened"}}


async def test_persons_count_from_their_activation_on(service: Service) -> None:
    found = await analyses(
        service,
        *activated_stories(),
        metrics=[mean(), funnel("purchase")],
        exposure_criteria=ACTIVATED,
    )

    assert sums(found[0]) == {"control": [3, 3], "test": [3, 6]}
    assert sums(found[1]) == {"control": [3, 3], "test": [3, 3]}


async def test_activation_is_the_moment_of_exposure_everywhere(service: Service) -> None:
    experiment = await service.create_experiment(
        end_date=END, filters={}, metrics=[mean()], exposure_criteria=ACTIVATED
    )
    await service.capture(
        exposure("ann", "test", at(2, "08:00:00")),
        event("opened", "ann", at(4, "08:00:00")),
        exposure("bob", "test", at(2, "08:00:00")),
    )

    exposures = await service.read(f"/experiments/{experiment['id']}/exposures/")
    days = (await service.read(f"/experiments/{experiment['id']}/timeseries_results/", metric="primary"))["timeseries"]

    assert exposures["total_exposures"] == {"control": 0, "test": 1, "$multiple": 0}
    [_, test, _] = [one["exposure_counts"] for one in exposures["timeseries"]]
    assert test == [0, 0, 0, 1, 0]
    assert [day["variants"][1]["number_of_samples"] for day in days.values()] == [0, 0, 0, 1, 1]


@pytest.mark.each_database
async def test_first_seen_keeps_persons_of_several_variants_under_their_first(service: Service) -> None:
    experiment = await service.create_experiment(end_date=END, filters={}, metrics=[mean()])
    await service.capture(
        exposure("ann", "test", at(1, "08:00:00")),
        exposure("ann", "control", at(1, "09:00:00")),
        event("purchase", "ann", at(1, "10:00:00")),
    )
    path = f"/experiments/{experiment['id']}/"

    [excluded] = (await service.read(f"{path}analysis/"))["metrics"]
    await service.patch(path, {"exposure_criteria": {"multiple_variant_handling": "first_seen"}})
    [kept] = (await service.read(f"{path}analysis/"))["metrics"]

    assert sums(excluded["analysis"]) == {"control": [0, 0], "test": [0, 0]}
    assert sums(kept["analysis"]) == {"control": [0, 0], "test": [1, 1]}
    assert (await service.read(f"{path}exposures/"))["total_exposures"]["test"] == 1


async def test_conversion_window_is_half_open_and_reaches_beyond_the_end(service: Service) -> None:
    [found] = await analyses(
        service,
        exposure("ann", "control", at(1, "08:00:00")),
        event("purchase", "ann", at(1, "08:00:00")),
        event("purchase", "ann", at(2, "07:59:59")),
        event("purchase", "ann", at(2, "08:00:00")),
        exposure("bob", "test", at(4, "23:00:00")),
        event("purchase", "bob", at(5, "22:59:59")),
        metrics=[mean(conversion_window=24, conversion_window_unit="hour")],
    )

    assert sums(found) == {"control": [1, 2], "test": [1, 1]}


async def test_retained_persons_come_back_on_the_next_calendar_day(service: Service) -> None:
    stories = {
        "same-day": [at(1, "10:00:00"), at(1, "23:59:00")],
        "midnight": [at(1, "10:00:00"), at(2, "00:00:00")],
        "last-second": [at(1, "10:00:00"), at(2, "23:59:59")],
        "two-days": [at(1, "10:00:00"), at(3, "00:00:00")],
        "only-start": [at(1, "10:00:00")],
    }
    events = []
    for person, (start, *back) in stories.items():
        events += [exposure(person, "test", at(1, "09:00:00")), event("visit", person, start)]
        events += [event("visit", person, time) for time in back]

    next_day, any_time = await analyses(
        service,
        *events,
        exposure("never-started", "test", at(1, "09:00:00")),
        metrics=[
            retention(node("visit"), node("visit"), 1, 1),
            retention(node("visit"), node("visit"), 0, 0),
        ],
    )

    assert sums(next_day)["test"] == [5, 2]
    assert sums(any_time)["test"] == [5, 1]


async def test_return_on_the_last_calendar_day_counts_where_the_clock_is_put_back(service: Service) -> None:
    await service.patch("/", {"timezone": "Europe/Berlin"})
    [found] = await analyses(
        service,
        exposure("ann", "test", "2022-10-29T22:10:00Z"),  # on a Sunday of 25 hours
        event("visit", "ann", "2022-10-29T22:20:00Z"),
        event("visit", "ann", "2022-10-31T22:59:59Z"),  # the last second of Monday
        exposure("bob", "test", "2022-10-29T22:10:00Z"),
        event("visit", "bob", "2022-10-29T22:20:00Z"),
        event("visit", "bob", "2022-10-31T23:00:00Z"),
        start_date="2022-10-29T22:00:00Z",
        end_date="2022-10-29T22:30:00Z",
        metrics=[retention(node("visit"), node("visit"), 1, 1)],
    )

    assert sums(found)["test"] == [2, 1]


async def test_exposure_as_the_start_has_two_names(service: Service) -> None:
    starts = [{"kind": kind} for kind in ("ExperimentExposureNode", "ExperimentExposureMetricSource")]
    metrics = [retention(start, node("visit"), 0, 1) for start in starts]

    found = (await service.create_experiment(filters={}, metrics=metrics))["metrics"]

    assert [one["start_event"] for one in found] == [{"kind": "ExperimentExposureNode"}] * 2
    assert found[0]["fingerprint"] == found[1]["fingerprint"]


async def test_retention_can_start_at_the_exposure(service: Service) -> None:
    [found] = await analyses(
        service,
        exposure("ann", "test", at(1, "09:00:00")),
        event("visit", "ann", at(1, "09:30:00")),
        exposure("bob", "test", at(1, "09:00:00")),
        metrics=[retention({"kind": "ExperimentExposureNode"}, node("visit"), 0, 1, "hour")],
    )

    assert sums(found)["test"] == [2, 1]


async def test_event_that_exposes_is_neither_a_step_nor_a_return(service: Service) -> None:
    def view(person: str, time: str) -> dict[str, object]:
        return event("$pageview", person, time, variant="test")

    found = await analyses(
        service,
        view("once", at(1, "10:00:00")),
        view("twice", at(1, "10:00:00")),
        view("twice", at(1, "10:00:00")),
        view("again", at(1, "10:00:00")),
        view("again", at(1, "11:00:00")),
        metrics=[
            funnel("$pageview"),
            funnel("$pageview", "purchase", funnel_order_type="unordered"),
            retention({"kind": "ExperimentExposureNode"}, node("$pageview"), 0, 0),
            mean("$pageview"),
        ],
        exposure_criteria={"exposure_config": {"kind": "ExperimentEventExposureConfig", "event": "$pageview"}},
    )

    assert [sums(one)["test"] for one in found] == [[3, 2], [3, 0], [3, 2], [3, 5]]


async def test_retention_over_thousands_of_years_is_refused_where_it_is_counted(service: Service) -> None:
    metric = retention(node("visit"), node("visit"), 1, 1, conversion_window=100_000, conversion_window_unit="month")
    experiment = await service.create_experiment(end_date=END, filters={}, metrics=[metric])

    [found] = (await service.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"]

    assert (found["status"], found["detail"]) == (
        "unavailable",
        "The retention has too many days: choose shorter windows.",
    )


async def test_ratio_divides_what_exposed_persons_did(service: Service) -> None:
    ratio = {
        "metric_type": "ratio",
        "numerator": node("purchase", math="sum", math_property="amount"),
        "denominator": node("visit"),
    }

    [found] = await analyses(
        service,
        exposure("ann", "test", at(1, "09:00:00")),
        event("visit", "ann", at(1, "09:00:00")),
        event("visit", "ann", at(2, "09:00:00")),
        event("purchase", "ann", at(2, "09:00:00"), properties={"amount": 7}),
        exposure("bob", "test", at(1, "09:00:00")),
        event("visit", "bob", at(1, "09:00:00")),
        exposure("cleo", "control", at(1, "09:00:00")),
        metrics=[ratio],
    )

    assert found["metric_type"] == "ratio"
    assert found["variants"][1]["mean"] == pytest.approx(7 / 3)
    assert sums(found)["control"] == [1, 0]


async def test_different_sessions_of_a_person_are_counted(service: Service) -> None:
    visits = [
        event("visit", "ann", at(1, f"1{n}:00:00"), properties={"$session_id": session})
        for n, session in enumerate(["a", "a", "b", ""])
    ]

    [found] = await analyses(
        service, exposure("ann", "test", at(1, "09:00:00")), *visits, metrics=[mean("visit", "unique_session")]
    )

    assert sums(found)["test"] == [1, 2]


async def test_only_matured_persons_count_where_the_experiment_says_so(service: Service) -> None:
    events = [exposure("ann", "test", at(1, "09:00:00")), event("purchase", "ann", at(1, "10:00:00"))]
    metrics = [mean(conversion_window=1), mean(conversion_window=90_000)]

    found = await analyses(service, *events, metrics=metrics, only_count_matured_users=True)

    assert [sums(one)["test"] for one in found] == [[1, 1], [0, 0]]


async def test_persons_mature_without_any_new_event(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = await service.create_experiment(
        end_date=None, filters={}, metrics=[mean(conversion_window=1)], only_count_matured_users=True
    )
    await service.capture(
        exposure("ann", "test", at(1, "09:00:00")), event("purchase", "ann", at(1, "10:00:00")), event("other", "bob")
    )
    found = []
    for now in (at(2, "08:59:59"), at(2, "09:00:00")):
        moment = dt.datetime.fromisoformat(now)
        monkeypatch.setattr("app.metrics.queries.service.utc_now", lambda moment=moment: moment)
        [metric] = (await service.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"]
        found.append(sums(metric["analysis"])["test"])

    assert found == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("metric", "attr"),
    [
        (mean(math="sum"), "metrics__0__source"),
        ({**mean(), "bogus": 1}, "metrics__0__bogus"),
        (mean_of({"kind": "EventsNode", "event": "x", "id": 1}), "metrics__0__source"),
        (mean_of({"kind": "ActionsNode", "event": "x", "id": 1}), "metrics__0__source"),
        (mean_of({"kind": "ActionsNode", "id": False}), "metrics__0__source__id"),
        ({"metric_type": "mean", "source": {"kind": "EventsNode"}}, "metrics__0__source"),
        ({"metric_type": "mean", "source": {"kind": "EventsNode", "event": "x", "math": "median"}}, None),
        (funnel(), "metrics__0__series"),
        (funnel("a", "a", funnel_order_type="unordered"), "metrics__0"),
        (retention(node("a"), node("b"), 2, 1), "metrics__0"),
        (mean(threshold=0), "metrics__0__threshold"),
        (mean(conversion_window_unit="day"), "metrics__0"),
        (mean(math="dau", upper_bound_percentile=0.9), "metrics__0"),
        (mean(lower_bound_percentile=1), "metrics__0"),
        (
            {
                "metric_type": "ratio",
                "numerator": node("a", math="dau"),
                "denominator": node("b"),
                "numerator_outlier_handling": {"upper_bound_percentile": 0.9},
            },
            "metrics__0",
        ),
        (mean(math="dau", math_group_type_index=0), "metrics__0__source"),
        (quantile(0.5, node("a", math="sum")), "metrics__0"),
        (quantile(0.5, node("a", math_property="x")), "metrics__0"),
        (quantile(0.5, node("a"), quantile_type="event"), "metrics__0"),
        (quantile(0.5, node("a", math="sum", math_property="x"), quantile_type="event"), "metrics__0"),
        (quantile(0.5, node("a", math_property="x"), quantile_type="event", ignore_zeros=True), "metrics__0"),
        (quantile(1, node("a")), "metrics__0__quantile_level"),
        ({"kind": "ExperimentTrendsQuery"}, "metrics__0__metric_type"),
        ({"metric_type": "trend"}, "metrics__0__metric_type"),
    ],
)
async def test_metric_that_cannot_be_understood_is_refused(service: Service, metric: Body, attr: str | None) -> None:
    body = {"name": "x", "feature_flag_key": "x", "metrics": [metric]}

    refused = await service.post("/experiments/", body)

    assert refused.status_code == 400, refused.text
    if attr is not None:
        assert refused.json()["attr"] == attr, refused.text


async def test_metrics_come_back_with_id_and_fingerprint(service: Service) -> None:
    experiment = await service.create_experiment(filters={}, metrics=[revenue(name="Revenue", goal="decrease")])

    [metric] = experiment["metrics"]

    assert metric["kind"] == "ExperimentMetric"
    assert {"uuid", "fingerprint"} <= metric.keys()
    sent_back = await service.patch(f"/experiments/{experiment['id']}/", {"metrics": [metric]})
    assert sent_back.json()["metrics"] == [metric]
    copied = await service.post(f"/experiments/{experiment['id']}/duplicate/", {})
    assert copied.json()["metrics"][0]["fingerprint"] == metric["fingerprint"]
    assert copied.json()["metrics"][0]["uuid"] != metric["uuid"]
