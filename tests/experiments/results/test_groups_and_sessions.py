"""Metrics of groups and sessions, and their filters of test accounts."""

from typing import Any

import pytest

from tests.support.service import FUNNEL, TREND, Service, event, exposure

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]


async def results_of(service: Service, *events: dict[str, Any], **fields: Any) -> Any:
    experiment = await service.create_experiment(**fields)
    await service.capture(*events)
    return await service.read(f"/experiments/{experiment['id']}/results/")


def counts(results: Any) -> dict[str, list[int]]:
    return {funnel[0]["breakdown_value"][0]: [step["count"] for step in funnel] for funnel in results["insight"]}


def data(results: Any) -> dict[str, list[float]]:
    return {series["breakdown_value"]: series["data"] for series in results["insight"]}


def of(company: str, name: str, who: str, time: str = "2022-11-02T10:00:00Z", **members: Any) -> dict[str, object]:
    return event(name, who, time, properties={"$groups": {"company": company}}, **members)


async def test_group_funnel_counts_groups_across_persons(service: Service) -> None:
    results = await results_of(
        service,
        of("acme", "$pageview", "ann", variant="control"),
        of("acme", "purchase", "bob", "2022-11-02T11:00:00Z"),
        of("tiny", "$pageview", "cleo", variant="test"),
        of("tiny", "$pageview", "dan", variant="control", time="2022-11-03T10:00:00Z"),
        event("$pageview", "eve", variant="test"),
        filters={**FUNNEL, "aggregation_group_type_index": 0},
    )

    assert counts(results) == {"control": [1, 1], "test": [1, 0]}
    assert results["filters"]["aggregation_group_type_index"] == 0


@pytest.mark.parametrize(
    ("math", "control", "test"),
    [
        ({"math": "unique_group", "math_group_type_index": 0}, [0, 2, 3], [0, 1, 1]),
        ({"math": "unique_session"}, [0, 2, 2], [0, 1, 1]),
        ({"math": "weekly_active"}, [0, 2, 4], [0, 1, 2]),
        ({"math": "monthly_active"}, [0, 2, 4], [0, 1, 2]),
        ({"math": "sum", "math_property": "$session_duration"}, [0, 90_000, 180_000], [0, 0, 0]),
        ({"math": "max", "math_property": "$session_duration"}, [0, 90_000, 180_000], [0, 0, 0]),
    ],
)
async def test_maths_beyond_single_events_are_counted(
    service: Service, math: dict[str, Any], control: list[float], test: list[float]
) -> None:
    def at(time: str, who: str, variant: str, **properties: Any) -> dict[str, object]:
        return event("$pageview", who, f"2022-11-{time}Z", variant=variant, properties=properties)

    results = await results_of(
        service,
        at("02T10:00:00", "ann", "control", **{"$groups": {"company": "acme"}, "$session_id": "s"}),
        at("02T10:00:40", "ann", "control", **{"$groups": {"company": "acme"}, "$session_id": "s"}),
        at("02T10:00:00", "bob", "control"),
        at("03T10:00:00", "bob", "control", **{"$groups": {"company": "tiny"}, "$session_id": "s"}),
        at("03T11:00:00", "bob", "control", **{"$groups": {"company": "acme"}, "$session_id": "s"}),
        at("02T10:00:00", "cleo", "test", **{"$session_id": "alone"}),
        event("other", "ann", "2022-11-02T10:01:30Z", properties={"$session_id": "s"}),
        filters={"insight": "TRENDS", "events": [{"id": "$pageview", **math}]},
        end_date="2022-11-03T23:00:00Z",
    )

    assert (data(results)["control"], data(results)["test"]) == (control, test)


async def test_project_filters_define_test_accounts(service: Service) -> None:
    real = [{"key": "email", "value": "@example.com", "operator": "not_icontains", "type": "person"}]
    changed = await service.request("PATCH", "/", json={"test_account_filters": real})
    assert (changed.status_code, changed.json()["test_account_filters"]) == (200, real)
    await service.capture(
        event("$identify", "ann", properties={"$set": {"email": "ann@example.com"}}),
        *(exposure(who, "control") for who in ("ann", "bob", "cleo")),
        exposure("dan", "test"),
        *(event("$pageview", who, variant="control") for who in ("ann", "bob", "cleo")),
        event("$pageview", "dan", variant="test"),
    )

    experiment = await service.create_experiment(filters=TREND)
    shown = []
    for asked in (True, "true", False, None):
        await service.patch(f"/experiments/{experiment['id']}/", {"filters": {**TREND, "filter_test_accounts": asked}})
        results = await service.read(f"/experiments/{experiment['id']}/results/")
        figures = [(one["count"], one["absolute_exposure"]) for one in results["variants"]]
        shown.append((figures, results["filters"].get("filter_test_accounts")))

    assert shown == [([(2, 2.0), (1, 1.0)], True)] * 2 + [([(3, 3.0), (1, 1.0)], None)] * 2


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        (None, "null"),
        ({}, "not_a_list"),
        ("x", "not_a_list"),
        ([3], "invalid_input"),
        ([{"key": "email"}], "invalid_input"),
        ([{"key": "a", "value": "(", "operator": "regex"}], "invalid_input"),
        ([{"key": "a", "value": "\0"}], "invalid_input"),
    ],
)
async def test_filter_on_test_accounts_that_could_not_be_tested_is_refused(
    service: Service, filters: object, code: str
) -> None:
    response = await service.request("PATCH", "/", json={"test_account_filters": filters})

    assert (response.status_code, response.json()["code"], response.json()["attr"]) == (
        400,
        code,
        "test_account_filters",
    )


async def test_custom_exposure_filter_sets_the_exposure_of_results(service: Service) -> None:
    own = {"events": [{"id": "saw it", "math": "dau", "properties": [{"key": "where", "value": "home"}]}]}
    results = await results_of(
        service,
        *(event("$pageview", variant, variant=variant) for variant in ("control", "test")),
        *(event("saw it", f"{n}", variant="control", properties={"where": "home"}) for n in (1, 2, 2)),
        *(event("saw it", f"{n}", variant="test", properties={"where": "home"}) for n in (3, 4, 5)),
        event("saw it", "6", variant="test", properties={"where": "away"}),
        *(exposure(f"{n}", "test") for n in range(9)),
        filters=TREND,
        parameters={"custom_exposure_filter": own},
    )

    assert {one["key"]: (one["exposure"], one["absolute_exposure"]) for one in results["variants"]} == {
        "control": (1.0, 2.0),
        "test": (1.5, 3.0),
    }


@pytest.mark.parametrize(
    ("attribution", "expected"),
    [
        ({}, {"control": [2, 1]}),
        ({"breakdown_attribution_type": "first_touch"}, {"control": [2, 1]}),
        ({"breakdown_attribution_type": "last_touch"}, {"control": [1, 0], "test": [1, 1]}),
        ({"breakdown_attribution_type": "all_events"}, {"control": [2, 0]}),
        ({"breakdown_attribution_type": "step", "breakdown_attribution_value": 0}, {"control": [2, 1]}),
        ({"breakdown_attribution_type": "step", "breakdown_attribution_value": 1}, {"test": [1, 1]}),
    ],
)
async def test_person_that_met_two_variants_belongs_where_the_metric_says(
    service: Service, attribution: dict[str, Any], expected: dict[str, list[int]]
) -> None:
    await service.capture(
        event("$pageview", "ann", variant="control"),
        event("purchase", "ann", "2022-11-02T11:00:00Z", variant="test"),
        event("$pageview", "bob", variant="control"),
    )
    filters = {**FUNNEL, **attribution}
    experiment = await service.create_experiment(filters=FUNNEL, secondary_metrics=[{"name": "", "filters": filters}])

    shown = await service.read(f"/experiments/{experiment['id']}/secondary_results/", id=0)

    assert shown["result"] == {key: row[1] / row[0] for key, row in expected.items()}


async def test_unordered_funnel_tells_how_many_steps_were_made(service: Service) -> None:
    results = await results_of(
        service,
        event("purchase", "ann", variant="control"),
        event("$pageview", "ann", "2022-11-02T11:00:00Z"),
        event("$pageview", "bob", variant="test"),
        filters={**FUNNEL, "funnel_order_type": "unordered"},
    )

    assert counts(results) == {"control": [1, 1], "test": [1, 0]}
    steps = [(step["action_id"], step["name"], step["average_conversion_time"]) for step in results["insight"][0]]
    assert steps == [(None, "Completed 1 step", None), (None, "Completed 2 steps", 3600.0)]
    assert results["filters"]["funnel_order_type"] == "unordered"


@pytest.mark.each_database
async def test_strict_funnel_lets_nothing_come_between(service: Service) -> None:
    results = await results_of(
        service,
        event("$pageview", "ann", variant="control"),
        event("purchase", "ann", "2022-11-02T11:00:00Z"),
        event("$pageview", "bob", variant="test"),
        event("other", "bob", "2022-11-02T10:30:00Z"),
        event("purchase", "bob", "2022-11-02T11:00:00Z"),
        filters={**FUNNEL, "funnel_order_type": "strict"},
    )

    assert counts(results) == {"control": [1, 1], "test": [1, 0]}


async def test_optional_filters_are_shown_when_they_are_set(service: Service) -> None:
    exclusion = {"id": "x", "funnel_from_step": 0, "funnel_to_step": 1}
    results = await results_of(
        service,
        *(event("$pageview", variant, variant=variant) for variant in ("control", "test")),
        filters={
            **FUNNEL,
            "exclusions": [exclusion],
            "funnel_viz_type": "steps",
            "layout": "horizontal",
            "funnel_window_days": "7",
            "breakdown_limit": 5,
            "limit": 50,
            "offset": 0,
            "interval": "week",
            "breakdown_attribution_type": "last_touch",
            "date_from": "2001-01-01",
            "breakdown": "$browser",
            "properties": [{"key": "a", "value": 1, "type": "person"}],
        },
    )

    echo = results["filters"]
    entity = {
        "id": "x",
        "type": "events",
        "order": 0,
        "name": "x",
        "custom_name": None,
        "math": None,
        "math_property": None,
        "math_group_type_index": None,
        "properties": {},
    }
    assert echo.pop("events") == [
        {**entity, "id": n, "name": n, "order": o} for n, o in (("$pageview", 0), ("purchase", 1))
    ]
    assert echo == {
        "breakdown": ["$feature/checkout"],
        "breakdown_attribution_type": "last_touch",
        "breakdown_limit": 5,
        "breakdown_normalize_url": False,
        "breakdown_type": "event",
        "date_from": "2022-11-01T00:00:00+00:00",
        "date_to": "2022-11-15T00:00:00+00:00",
        "display": "FunnelViz",
        "exclusions": [{**entity, "funnel_from_step": 0, "funnel_to_step": 1}],
        "explicit_date": "true",
        "funnel_viz_type": "steps",
        "funnel_window_days": 7,
        "funnel_window_interval": 7,
        "funnel_window_interval_unit": "day",
        "insight": "FUNNELS",
        "interval": "week",
        "layout": "horizontal",
        "limit": 50,
        "smoothing_intervals": 1,
    }
