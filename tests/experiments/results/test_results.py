"""Results through the API."""

import asyncio
import datetime as dt
import json
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from app.common import limits
from app.db.database import Database
from app.db.models import Count
from app.metrics.counting.incremental import MetricCounter
from app.operations.maintenance.scheduler import MaintenanceScheduler
from app.operations.maintenance.wiring import build_maintenance
from tests.support.service import FUNNEL, TREND, Service, event, exposure

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]

ONE_EACH = [
    event("$pageview", "ann", variant="control"),
    event("$pageview", "bob", variant="test"),
    event("purchase", "bob", "2022-11-02T11:30:00Z"),
]


async def results_of(service: Service, *events: dict[str, Any], **fields: Any) -> Any:
    """Create an experiment, send events and return its results."""
    experiment = await service.create_experiment(**fields)
    await service.capture(*events)
    return await service.read(f"/experiments/{experiment['id']}/results/")


def steps(variant: str, *counts: int, seconds: float | None = None) -> list[dict[str, Any]]:
    """Return the funnel of one variant as results show it."""
    return [
        {
            "action_id": name,
            "name": name,
            "custom_name": None,
            "order": order,
            "people": [],
            "count": count,
            "type": "events",
            "average_conversion_time": seconds if order else None,
            "median_conversion_time": seconds if order else None,
            "breakdown": [variant],
            "breakdown_value": [variant],
            "converted_people_url": None,
            "dropped_people_url": None,
        }
        for order, (name, count) in enumerate(zip(("$pageview", "purchase"), counts, strict=True))
    ]


def entity(name: str, order: int = 0, **changes: Any) -> dict[str, Any]:
    """Return an entity as results echo it."""
    return {
        "id": name,
        "type": "events",
        "order": order,
        "name": name,
        "custom_name": None,
        "math": None,
        "math_property": None,
        "math_group_type_index": None,
        "properties": {},
        **changes,
    }


async def test_funnel_is_answered_in_the_shape_of_2022(service: Service) -> None:
    results = await results_of(service, *ONE_EACH)

    assert results == {
        "health": {
            "status": "warning",
            "findings": [{"code": "ZERO_EXPOSURES", "severity": "warning", "title": "No person was exposed"}],
        },
        "explain": None,
        "kind": "funnel",
        "insight": [steps("control", 1, 0), steps("test", 1, 1, seconds=5400.0)],
        "probability": {"control": pytest.approx(1 / 6), "test": pytest.approx(5 / 6)},
        "significant": False,
        "filters": {
            "breakdown": ["$feature/checkout"],
            "breakdown_attribution_type": "first_touch",
            "breakdown_normalize_url": False,
            "breakdown_type": "event",
            "date_from": "2022-11-01T00:00:00+00:00",
            "date_to": "2022-11-15T00:00:00+00:00",
            "explicit_date": "true",
            "display": "FunnelViz",
            "events": [entity("$pageview"), entity("purchase", 1)],
            "funnel_window_interval": 14,
            "funnel_window_interval_unit": "day",
            "insight": "FUNNELS",
            "interval": "day",
            "limit": 100,
            "smoothing_intervals": 1,
        },
        "significance_code": "not_enough_exposure",
        "expected_loss": 1.0,
        "variants": [
            {"key": "control", "success_count": 0, "failure_count": 1},
            {"key": "test", "success_count": 1, "failure_count": 0},
        ],
        "credible_intervals": {
            "control": [pytest.approx(1 - 0.975**0.5), pytest.approx(1 - 0.025**0.5)],
            "test": [pytest.approx(0.025**0.5), pytest.approx(0.975**0.5)],
        },
    }


async def test_trend_is_answered_in_the_shape_of_2022(service: Service) -> None:
    results = await results_of(
        service,
        *(exposure(f"control {number}", "control") for number in range(4)),
        *(exposure(f"test {number}", "test") for number in range(5)),
        event("$pageview", "control 1", variant="control"),
        event("$pageview", "test 1", variant="test"),
        event("$pageview", "test 1", "2022-11-04T10:00:00Z", variant="test"),
        filters=TREND,
        end_date="2022-11-04T12:00:00Z",
    )

    echo = {
        "breakdown": "$feature/checkout",
        "breakdown_attribution_type": "first_touch",
        "breakdown_normalize_url": False,
        "breakdown_type": "event",
        "date_from": "2022-11-01T00:00:00+00:00",
        "date_to": "2022-11-04T12:00:00+00:00",
        "explicit_date": "true",
        "display": "ActionsLineGraphCumulative",
        "events": [entity("$pageview")],
        "insight": "TRENDS",
        "interval": "day",
        "properties": {
            "type": "AND",
            "values": [
                {"key": "$feature/checkout", "operator": "exact", "type": "event", "value": ["control", "test"]}
            ],
        },
        "smoothing_intervals": 1,
    }

    def series(variant: str, data: list[float]) -> dict[str, Any]:
        return {
            "action": entity("$pageview"),
            "label": f"$pageview - {variant}",
            "count": data[-1],
            "data": data,
            "labels": ["1-Nov-2022", "2-Nov-2022", "3-Nov-2022", "4-Nov-2022"],
            "days": ["2022-11-01", "2022-11-02", "2022-11-03", "2022-11-04"],
            "breakdown_value": variant,
            "persons_urls": [],
            "filter": echo,
        }

    assert results == {
        "health": {"status": "healthy", "findings": []},
        "explain": None,
        "kind": "trend",
        "insight": [series("test", [0.0, 1.0, 1.0, 2.0]), series("control", [0.0, 1.0, 1.0, 1.0])],
        "probability": {"control": pytest.approx(0.4000914494741655), "test": pytest.approx(0.5999085505258345)},
        "significant": False,
        "filters": echo,
        "significance_code": "not_enough_exposure",
        "p_value": 1.0,
        "variants": [
            {"key": "control", "count": 1, "exposure": 1.0, "absolute_exposure": 4.0},
            {"key": "test", "count": 2, "exposure": 1.25, "absolute_exposure": 5.0},
        ],
        "credible_intervals": {
            "control": [pytest.approx(0.0605523), pytest.approx(1.3929108)],
            "test": [pytest.approx(0.1237344), pytest.approx(1.4449372)],
        },
    }


async def test_clear_winner_is_significant(service: Service) -> None:
    events = []
    for variant, conversions in (("control", 10), ("test", 30)):
        for number in range(120):
            events.append(event("$pageview", f"{variant} {number}", variant=variant))
            if number < conversions:
                events.append(event("purchase", f"{variant} {number}", "2022-11-02T11:00:00Z"))

    results = await results_of(service, *events)

    assert (results["significant"], results["significance_code"]) == (True, "significant")
    assert results["variants"][1] == {"key": "test", "success_count": 30, "failure_count": 90}


async def test_draft_has_no_results(service: Service) -> None:
    draft = await service.create_experiment(start_date=None, end_date=None)

    response = await service.get(f"/experiments/{draft['id']}/results/")

    assert response.status_code == 400
    assert response.json() == {
        "type": "validation_error",
        "code": "no_data",
        "detail": "Experiment has not started yet",
        "attr": None,
    }


@pytest.mark.parametrize("filters", [FUNNEL, TREND, {"insight": "FUNNELS"}, {"insight": "TRENDS"}])
@pytest.mark.parametrize(
    ("variants", "detail"),
    [
        ((), "No control variant data found"),
        (("test",), "No control variant data found"),
        (("control",), "Can't calculate A/B test results for less than 2 variants"),
    ],
)
async def test_results_need_control_and_a_test(
    service: Service, filters: dict[str, Any], variants: tuple[str, ...], detail: str
) -> None:
    experiment = await service.create_experiment(filters=filters)
    await service.capture(*[event("$pageview", variant, variant=variant) for variant in (*variants, "unknown")])

    response = await service.get(f"/experiments/{experiment['id']}/results/")

    expected = detail if filters.get("events") else "No control variant data found"
    assert (response.status_code, response.json()["code"], response.json()["detail"]) == (400, "no_data", expected)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"insight": None}, "Filters are not valid (insight null is not supported: use TRENDS or FUNNELS)"),
        ({"insight": 3}, "Filters are not valid (insight 3 is not supported: use TRENDS or FUNNELS)"),
        ({"insight": "MOOD"}, "Filters are not valid (insight 'MOOD' is not supported: use TRENDS or FUNNELS)"),
        ({"insight": "FUNNEL"}, "Filters are not valid (insight 'FUNNEL' is not supported: use TRENDS or FUNNELS)"),
        (
            {"insight": "retention"},
            "Filters are not valid (insight 'retention' is not supported: use TRENDS or FUNNELS)",
        ),
        ({"events": [{"id": "a", "order": 10**400}]}, "Filters are not valid"),
        ({"events": [{"id": "a", "order": "nan"}]}, "Filters are not valid"),
        ({"events": "not json"}, "Filters are not valid"),
        ({"events": [{"name": "no id"}]}, "Filters are not valid"),
        ({"events": ["$pageview"]}, "Filters are not valid"),
        ({"funnel_window_interval": 1, "funnel_window_interval_unit": "moon"}, "{interval} not supported"),
        ({"funnel_window_days": -1}, "Filters are not valid"),
        ({"actions": [{"id": 9}]}, "Action ID 9 does not exist!"),
        ({"insight": "TRENDS", "interval": "moon"}, "moon not supported"),
        (
            {"insight": "TRENDS", "events": [{"id": "a", "math": "unique_group"}]},
            "math_group_type_index is required to be at least 0 and less than 5",
        ),
        (
            {"aggregation_group_type_index": 5},
            "aggregation_group_type_index is required to be at least 0 and less than 5",
        ),
        ({"funnel_order_type": "random"}, "funnel_order_type 'random' not supported"),
        ({"breakdown_attribution_type": "luck"}, "breakdown_attribution_type 'luck' not supported"),
        (
            {"breakdown_attribution_type": "step"},
            "breakdown_attribution_value must be the place of a step, from 0, for attribution by step",
        ),
        (
            {
                "funnel_order_type": "unordered",
                "events": [{"id": "a"}, {"id": "b", "order": 1}, {"id": "c", "order": 2}],
                "exclusions": [{"id": "x", "funnel_from_step": 0, "funnel_to_step": 1}],
            },
            "Partial Exclusions not allowed in unordered funnels",
        ),
        (
            {"insight": "TRENDS", "events": [{"id": "a", "math": "sum"}]},
            "This field is required when `math` is set to a function.",
        ),
        (
            {"events": [{"id": "a", "math_group_type_index": 7}]},
            "math_group_type_index is required to be at least 0 and less than 5",
        ),
        ({"exclusions": [{"id": "x"}]}, "Exclusion event needs to define funnel steps"),
        (
            {"exclusions": [{"id": "x", "funnel_from_step": 1, "funnel_to_step": 1}]},
            "Exclusion event range is invalid. End of range should be greater than start.",
        ),
        (
            {"exclusions": [{"id": "x", "funnel_from_step": 1, "funnel_to_step": 2}]},
            "Exclusion event range is invalid. Start of range is greater than number of steps.",
        ),
        (
            {"exclusions": [{"id": "x", "funnel_from_step": 0, "funnel_to_step": 2}]},
            "Exclusion event range is invalid. End of range is greater than number of steps.",
        ),
        (
            {"exclusions": [{"id": "purchase", "funnel_from_step": 0, "funnel_to_step": 1}]},
            "Exclusion event can't be the same as funnel step",
        ),
    ],
)
async def test_results_refuse_a_metric_that_cannot_be_computed(
    service: Service, changes: dict[str, Any], detail: str
) -> None:
    experiment = await service.create_experiment(filters={**FUNNEL, **changes})

    response = await service.get(f"/experiments/{experiment['id']}/results/")

    assert (response.status_code, response.json()["type"]) == (400, "validation_error")
    assert response.json()["detail"] == detail


@pytest.mark.parametrize("insight", ["TRENDS", "FUNNELS"])
@pytest.mark.parametrize("math", ["stddev", "unique", "hogql", "first_time_for_user", 3, ["sum"], True])
async def test_unknown_aggregation_is_refused_by_name(service: Service, insight: str, math: object) -> None:
    events = [{"id": "$pageview", "math": math, "math_property": "amount"}]
    experiment = await service.create_experiment(filters={"insight": insight, "events": events})
    path = f"/experiments/{experiment['id']}"

    response = await service.get(f"{path}/results/")
    [analysis] = (await service.read(f"{path}/analysis/"))["metrics"]
    health = await service.read(f"{path}/health/")

    assert response.status_code == 400
    named = repr(math) if isinstance(math, str) else json.dumps(math)
    assert response.json()["detail"].startswith(
        f"Filters are not valid (math {named} is not supported: use one of total, dau"
    )
    assert analysis["detail"] == response.json()["detail"]
    [finding] = health["findings"]
    assert finding["code"] == "FILTER_NOT_UNDERSTOOD"
    assert response.json()["detail"] in finding["detail"]


@pytest.mark.each_database
async def test_known_aggregation_may_be_written_in_any_case(service: Service) -> None:
    results = await results_of(
        service,
        *(event("order", key, variant=key, properties={"amount": 2.5}) for key in ("control", "test")),
        filters={"insight": "trends", "events": [{"id": "order", "math": "SUM", "math_property": "amount"}]},
    )

    assert [one["count"] for one in results["insight"]] == [2.5, 2.5]
    assert results["filters"]["events"][0]["math"] == "SUM"


@pytest.mark.parametrize(
    ("time", "counted"),
    [
        ("2022-10-31T23:59:59.999Z", 0),
        ("2022-11-01T00:00:00Z", 1),
        ("2022-11-15T00:00:00.999Z", 1),
        ("2022-11-15T00:00:01Z", 0),
    ],
)
async def test_start_and_end_belong_to_the_experiment_to_the_second(service: Service, time: str, counted: int) -> None:
    results = await results_of(service, *ONE_EACH, event("$pageview", "cleo", time, variant="test"))

    assert results["insight"][1][0]["count"] == 1 + counted


@pytest.mark.each_database
async def test_days_are_days_of_the_project(service: Service) -> None:
    await service.patch("/", {"timezone": "America/New_York"})
    results = await results_of(
        service,
        event("$pageview", "ann", "2022-11-03T03:00:00Z", variant="control"),  # still the second in New York
        event("$pageview", "bob", "2022-11-03T05:00:00Z", variant="test"),
        filters=TREND,
        start_date="2022-11-02T04:00:00Z",
        end_date="2022-11-04T03:00:00Z",
    )

    assert results["insight"][0]["days"] == ["2022-11-02", "2022-11-03"]
    assert {one["breakdown_value"]: one["data"] for one in results["insight"]} == {
        "control": [1.0, 1.0],
        "test": [0.0, 1.0],
    }
    assert results["filters"]["date_from"] == "2022-11-02T00:00:00-04:00"


async def test_running_experiment_counts_up_to_now(service: Service) -> None:
    now = dt.datetime.now(dt.UTC)
    results = await results_of(
        service,
        event("$pageview", "ann", now.isoformat(), variant="control"),
        event("$pageview", "bob", now.isoformat(), variant="test"),
        event("$pageview", "cleo", (now + dt.timedelta(hours=1)).isoformat(), variant="test"),
        start_date=(now - dt.timedelta(days=1)).isoformat(),
        end_date=None,
    )

    assert [funnel[0]["count"] for funnel in results["insight"]] == [1, 1]
    assert "date_to" not in results["filters"]


async def test_events_pass_the_filters_of_their_entity(service: Service) -> None:
    expensive = [{"key": "amount", "operator": "gt", "value": 100, "type": "event"}]
    filters = {**FUNNEL, "events": [{"id": "$pageview"}, {"id": "purchase", "properties": expensive}]}
    results = await results_of(
        service,
        event("$pageview", "ann", variant="control"),
        event("$pageview", "bob", variant="test"),
        event("purchase", "ann", "2022-11-02T11:00:00Z", properties={"amount": 500}),
        event("purchase", "bob", "2022-11-02T11:00:00Z", properties={"amount": 50}),
        filters=filters,
    )

    assert [funnel[1]["count"] for funnel in results["insight"]] == [1, 0]
    assert results["filters"]["events"][1]["properties"] == {"type": "AND", "values": expensive}


async def test_filters_on_persons_look_at_who_they_are_today(service: Service) -> None:
    paying = [{"key": "plan", "operator": "exact", "value": ["pro"], "type": "person"}]
    experiment = await service.create_experiment(
        filters={**FUNNEL, "events": [{"id": "$pageview", "properties": paying}, {"id": "purchase"}]}
    )
    for person in ("ann", "bob", "cleo"):
        await service.capture(event("$pageview", person, variant="test" if person == "bob" else "control"))
        await service.capture(
            event("$set", person, properties={"$set": {"plan": "free" if person == "cleo" else "pro"}})
        )
    before = await service.read(f"/experiments/{experiment['id']}/results/")

    await service.capture(event("$set", "cleo", properties={"$set": {"plan": "pro"}}))
    after = await service.read(f"/experiments/{experiment['id']}/results/")

    assert [funnel[0]["count"] for funnel in before["insight"]] == [1, 1]
    assert [funnel[0]["count"] for funnel in after["insight"]] == [2, 1]


async def test_merged_person_counts_once_under_the_variant_seen_first(service: Service) -> None:
    experiment = await service.create_experiment()
    await service.capture(
        *ONE_EACH,
        event("$pageview", "device", "2022-11-02T08:00:00Z", variant="test"),
        event("$pageview", "cleo", "2022-11-02T09:00:00Z", variant="control"),
        event("purchase", "cleo", "2022-11-02T10:00:00Z"),
    )
    before = await service.read(f"/experiments/{experiment['id']}/results/")

    await service.capture(event("$identify", "cleo", properties={"$anon_distinct_id": "device"}))
    after = await service.read(f"/experiments/{experiment['id']}/results/")

    assert [[step["count"] for step in funnel] for funnel in before["insight"]] == [[2, 1], [2, 1]]
    assert [[step["count"] for step in funnel] for funnel in after["insight"]] == [[1, 0], [2, 2]]


async def test_three_variants_are_compared_control_first(service: Service) -> None:
    variants = [{"key": key, "rollout_percentage": share} for key, share in (("b", 30), ("control", 40), ("a", 30))]
    results = await results_of(
        service,
        *[event("$pageview", key, variant=key) for key in ("a", "b", "control")],
        parameters={"feature_flag_variants": variants},
    )

    assert [variant["key"] for variant in results["variants"]] == ["control", "b", "a"]
    assert list(results["probability"]) == ["control", "b", "a"]
    assert sum(results["probability"].values()) == pytest.approx(1)


async def test_events_of_other_projects_do_not_count(service: Service) -> None:
    made = await service.client.post(
        "/api/projects/", json={"name": "Other"}, headers={"Authorization": f"Bearer {service.key}"}
    )
    other = Service(service.client, made.json()["id"], made.json()["api_token"], service.key)
    await other.capture(*ONE_EACH, event("$pageview", "cleo", variant="test"))

    results = await results_of(service, *ONE_EACH)

    assert [funnel[0]["count"] for funnel in results["insight"]] == [1, 1]


@pytest.mark.each_database
async def test_waiting_requests_share_one_recount(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0
    recompute = MetricCounter.recompute

    async def counting(counter: MetricCounter[Any]) -> Any:
        nonlocal counted
        counted += 1
        return await recompute(counter)

    monkeypatch.setattr(MetricCounter, "recompute", counting)
    experiment = await service.create_experiment()
    await service.capture(*ONE_EACH)
    path = f"/experiments/{experiment['id']}/results/?refresh=true"

    answers = await asyncio.gather(*(service.read(path) for _ in range(6)))

    assert all(answer == answers[0] for answer in answers)
    assert counted <= 2 * 2  # the metric and the exposures, for those before the first count began and those after


@pytest.mark.each_database
@pytest.mark.own_database
async def test_refresh_counts_a_started_experiment_before_any_request(
    service: Service, database: Database, application: FastAPI
) -> None:
    state = application.state
    schedule = MaintenanceScheduler(
        database, lambda project: build_maintenance(database, state.materializer, project), 3600
    )
    running = asyncio.create_task(schedule.run())
    try:
        await service.capture(*ONE_EACH)
        await service.create_experiment(end_date=None)
        while not await stored_counts(database):  # the test's time limit bounds it
            pass
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    await schedule.remove_unused()
    assert await stored_counts(database)


async def stored_counts(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(Count)) or 0


LONG = {"start_date": "2018-01-01T00:00:00Z", "end_date": "2022-11-15T00:00:00Z"}  # 42,697 hours


async def test_verdict_on_a_trend_is_the_same_by_any_interval_and_its_series_is_bounded(service: Service) -> None:
    by_hour = await results_of(service, *ONE_EACH, filters={**TREND, "interval": "hour"}, **LONG)
    again = [event("$pageview", who, variant=who, flag="other") for who in ("control", "test")]
    by_day = await results_of(service, *again, filters=TREND, feature_flag_key="other", **LONG)

    assert by_hour["probability"] == by_day["probability"] != {}
    assert by_hour["filters"]["interval"] == "day"
    assert len(by_hour["insight"][0]["days"]) == 1_780 <= limits.BUCKETS.value


async def test_series_of_averages_shows_every_nth_interval(service: Service) -> None:
    average = {"id": "$pageview", "order": 0, "type": "events", "math": "avg", "math_property": "price"}
    events = [event("$pageview", who, variant=who, properties={"price": 4}) for who in ("control", "test")]

    [first, _] = (
        await results_of(service, *events, filters={**TREND, "events": [average], "interval": "hour"}, **LONG)
    )["insight"]

    assert len(first["days"]) == len(first["data"]) == 4_745  # every ninth
    assert (first["days"][-1], first["data"][-1]) == ("2022-11-15 00:00:00", 4.0)
