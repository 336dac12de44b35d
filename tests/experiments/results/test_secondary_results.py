"""Secondary metrics, and the warning that a flag is not in the code."""

import datetime as dt
import json
from typing import Any

import pytest

from tests.support.service import FUNNEL, TREND, Service, event, exposure

pytestmark = pytest.mark.clickhouse

EVENTS = [
    event("$pageview", "ann", variant="control"),
    event("$pageview", "ann", "2022-11-03T10:00:00Z", variant="control"),
    event("$pageview", "bob", variant="test"),
    event("$pageview", "cleo", variant="test"),
    event("$pageview", "dan", variant="test"),
    event("purchase", "bob", "2022-11-02T11:00:00Z"),
    event("$pageview", "eve", variant="unknown"),
]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("filters", "result"),
    [
        (TREND, {"control": 2.0, "test": 3.0}),
        (FUNNEL, {"control": 0.0, "test": 0.333}),
        ({"insight": "TRENDS", "events": [{"id": "purchase"}]}, {}),
        ({"insight": "TRENDS"}, {}),
        ({"insight": "FUNNELS"}, {}),
    ],
)
async def test_secondary_metric_is_one_figure_per_variant_with_data(
    service: Service, filters: dict[str, Any], result: dict[str, float]
) -> None:
    experiment = await service.create_experiment(secondary_metrics=[{"name": "Second", "filters": filters}])
    await service.capture(*EVENTS)

    assert await service.read(f"/experiments/{experiment['id']}/secondary_results/?id=0") == {"result": result}


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("metrics", "query", "detail"),
    [
        ([], "?id=0", "Experiment has no secondary metrics"),
        (None, "?id=0", "Experiment has no secondary metrics"),
        ([{"filters": TREND}], "", "Secondary metric id is required"),
        ([{"filters": TREND}], "?id=", "Secondary metric id is required"),
        ([{"filters": TREND}], "?id=1.0", "Secondary metric id must be an integer"),
        ([{"filters": TREND}], "?id=0x0", "Secondary metric id must be an integer"),
        ([{"filters": TREND}], "?id=1", "Invalid metric ID"),
        ([{"filters": TREND}], "?id=-1", "Invalid metric ID"),
        ([{"filters": TREND}], "?id=" + "9" * 5000, "Secondary metric id must be an integer"),
        ([{"name": "no filters"}], "?id=0", "Invalid metric ID"),
        ([{"filters": {}}], "?id=0", "Invalid metric ID"),
        (["text"], "?id=0", "Invalid metric ID"),
        ({"0": {}}, "?id=0", "Invalid metric ID"),
        ([{"filters": {"insight": "PATHS"}}], "?id=0", "Secondary metrics need to be funnel or trend insights"),
    ],
)
async def test_missing_secondary_metric_is_refused(service: Service, metrics: Any, query: str, detail: str) -> None:
    experiment = await service.create_experiment(secondary_metrics=metrics)

    response = await service.get(f"/experiments/{experiment['id']}/secondary_results/{query}")

    assert response.status_code == 400
    assert response.json() == {"type": "validation_error", "code": "invalid_input", "detail": detail, "attr": None}


@pytest.mark.one_database
async def test_last_of_several_ids_counts(service: Service) -> None:
    experiment = await service.create_experiment(secondary_metrics=[{"filters": TREND}])
    await service.capture(*EVENTS)

    assert await service.read(f"/experiments/{experiment['id']}/secondary_results/?id=7&id=%200")


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("name", "age", "variant", "warned"),
    [
        ("$pageview", 0, "control", False),
        ("$pageview", 6, "control", False),
        ("$pageview", 9, "control", True),
        ("$pageview", 0, None, True),
        ("purchase", 0, "control", True),
    ],
)
async def test_flag_that_no_recent_event_names_is_warned_of(
    service: Service, name: str, age: int, variant: str | None, *, warned: bool
) -> None:
    time = (dt.datetime.now(dt.UTC) - dt.timedelta(days=age)).isoformat()
    await service.capture(event(name, "ann", time, variant=variant, flag="any-flag"))
    query = {"events": json.dumps([{"id": "$pageview"}]), "insight": "TRENDS"}

    assert await service.read("/experiments/requires_flag_implementation/", **query) == {"result": warned}
    in_body = await service.request("GET", "/experiments/requires_flag_implementation/", json=query)
    assert in_body.json() == {"result": warned}


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("query", "detail", "attr"),
    [
        ({"properties": "{"}, "Properties are unparsable!", None),
        ({"events": "{"}, "Value must be valid JSON.", "events"),
        ({"events": '[{"id": "\\ud800"}]'}, "Value must be valid JSON.", "events"),
        ({"events": '[{"id": "\\u0000"}]'}, "Value must be valid JSON.", "events"),
        ({"actions": '[{"id": 1}]'}, "Action ID 1 does not exist!", None),
    ],
)
async def test_flag_check_refuses_an_unparsable_query(
    service: Service, query: dict[str, str], detail: str, attr: str | None
) -> None:
    response = await service.get("/experiments/requires_flag_implementation/", **query)

    assert response.status_code == 400
    assert (response.json()["detail"], response.json()["attr"]) == (detail, attr)


@pytest.mark.parametrize("reports_exposure", [True, False])
async def test_flag_needs_exposures_alone_where_those_attribute_events(
    service: Service, *, reports_exposure: bool
) -> None:
    await service.patch("/", {"default_attribution": "exposure"})
    now = dt.datetime.now(dt.UTC).isoformat()
    await service.capture(event("$pageview", "ann", now))
    if reports_exposure:
        await service.capture(exposure("ann", "test", now))
    query = {"events": json.dumps([{"id": "$pageview"}])}

    found = await service.read("/experiments/requires_flag_implementation/", **query)

    assert found == {"result": not reports_exposure}


@pytest.mark.one_database
async def test_metric_without_entities_warns_of_the_flag(service: Service) -> None:
    assert await service.read("/experiments/requires_flag_implementation/") == {"result": True}
