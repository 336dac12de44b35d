"""Results of metrics about actions and cohorts, which change without any event."""

from typing import Any

import pytest

from tests.support.service import Service, event

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]


async def test_results_follow_actions_and_cohorts_as_they_are_today(service: Service) -> None:
    buy = await service.post(
        "/actions/",
        {
            "name": "Buy",
            "steps": [{"event": "order"}, {"event": "purchase", "url": "/shop", "url_matching": "contains"}],
        },
    )
    paying = {"type": "AND", "values": [{"key": "plan", "value": "paid", "type": "person"}]}
    cohort = await service.post("/cohorts/", {"name": "Paying", "filters": {"properties": paying}})
    assert (buy.status_code, cohort.status_code) == (201, 201), (buy.text, cohort.text)
    await service.capture(
        event("$identify", "ann", properties={"$set": {"plan": "paid"}}),
        event("$identify", "bob", properties={"$set": {"plan": "paid"}}),
        *(event("$pageview", who, variant=variant) for who, variant in (("ann", "control"), ("bob", "test"))),
        event("$pageview", "cleo", variant="test"),
        event("purchase", "ann", "2022-11-02T11:00:00Z", properties={"$current_url": "https://example.com/shop/1"}),
        event("purchase", "bob", "2022-11-02T11:00:00Z", properties={"$current_url": "https://example.com/"}),
        event("order", "cleo", "2022-11-02T11:00:00Z"),
    )
    members = [{"key": "id", "value": cohort.json()["id"], "type": "cohort"}]
    filters: dict[str, Any] = {
        "insight": "FUNNELS",
        "events": [{"id": "$pageview", "order": 0}],
        "actions": [{"id": buy.json()["id"], "order": 1}],
    }
    experiment = await service.create_experiment(filters=filters)
    path = f"/experiments/{experiment['id']}"

    results = await service.read(f"{path}/results/")
    await service.patch(f"{path}/", {"filters": {**filters, "events": [{"id": "$pageview", "properties": members}]}})
    narrowed = await service.read(f"{path}/results/")
    await service.request("PATCH", f"/actions/{buy.json()['id']}/", json={"steps": [{"event": "purchase"}]})
    changed = await service.read(f"{path}/results/")
    await service.request("PATCH", f"/actions/{buy.json()['id']}/", json={"deleted": True})
    gone = await service.get(f"{path}/results/")

    assert [[step["count"] for step in funnel] for funnel in results["insight"]] == [[1, 1], [2, 1]]
    assert [(step["action_id"], step["name"], step["type"]) for step in results["insight"][0]] == [
        ("$pageview", "$pageview", "events"),
        (buy.json()["id"], "Buy", "actions"),
    ]
    assert [entity["name"] for entity in results["filters"]["actions"]] == ["Buy"]
    assert [[step["count"] for step in funnel] for funnel in narrowed["insight"]] == [[1, 1], [1, 0]]
    assert [[step["count"] for step in funnel] for funnel in changed["insight"]] == [[1, 1], [1, 1]]
    assert (gone.status_code, gone.json()["detail"]) == (400, f"Action ID {buy.json()['id']} does not exist!")


@pytest.mark.parametrize("insight", ["TRENDS", "FUNNELS"])
async def test_metric_names_the_action_or_cohort_that_is_gone(service: Service, insight: str) -> None:
    def of_cohort(cohort_id: int, **more: object) -> Any:
        return [{"id": "$pageview", "properties": [{"key": "id", "value": cohort_id, "type": "cohort", **more}]}]

    metrics = [
        ({"actions": [{"id": 99}]}, "Action ID 99 does not exist!"),
        ({"events": of_cohort(8)}, "Cohort ID 8 does not exist!"),
        ({"events": of_cohort(9, operator="not_in", negation=True)}, "Cohort ID 9 does not exist!"),
    ]
    secondary = [{"name": "", "filters": {"insight": insight, **filters}} for filters, _ in metrics]
    experiment = await service.create_experiment(
        filters=secondary[0]["filters"],
        secondary_metrics=secondary,
        parameters={"custom_exposure_filter": metrics[1][0]},
    )
    path = f"/experiments/{experiment['id']}"

    for index, (filters, detail) in enumerate(metrics):
        await service.patch(f"{path}/", {"filters": {"insight": insight, **filters}})
        for answer in await service.get(f"{path}/results/"), await service.get(f"{path}/secondary_results/?id={index}"):
            assert (answer.status_code, answer.json()["detail"]) == (400, detail)
    analysis = await service.read(f"{path}/analysis/")
    health = await service.read(f"{path}/health/")

    assert [one["detail"] for one in analysis["metrics"][1:]] == [detail for _, detail in metrics]
    found = {one["code"]: one["detail"] for one in health["findings"]}
    assert metrics[-1][1] in found["FILTER_NOT_UNDERSTOOD"]
    assert "NO_METRIC" not in found
    assert found["EXPOSURE_UNREADABLE"].endswith(metrics[1][1])


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ("the metric 'bought'", {"metrics": [{"name": "bought", "metric_type": "mean"}]}),
        ("the metric 'bought'", {"metrics_secondary": [{"name": "bought", "metric_type": "mean"}]}),
        ("`exposure_criteria`", {"exposure_criteria": {}}),
    ],
)
async def test_health_names_an_action_that_typed_metrics_and_exposure_have_lost(
    service: Service, place: str, fields: dict[str, Any]
) -> None:
    action = (await service.post("/actions/", {"name": "a", "steps": [{"event": "paid"}]})).json()
    node = {"kind": "ActionsNode", "id": action["id"]}
    [(field, body)] = fields.items()
    sent = {"exposure_config": node} if isinstance(body, dict) else [{**body[0], "source": node}]
    experiment = await service.create_experiment(**{field: sent})
    await service.delete(f"/actions/{action['id']}/")

    health = await service.read(f"/experiments/{experiment['id']}/health/")

    [finding] = [one for one in health["findings"] if one["code"] == "FILTER_NOT_UNDERSTOOD"]
    assert health["status"] == "unhealthy"
    assert finding["evidence"]["problems"] == [f"{place}: Action ID {action['id']} does not exist!"]
