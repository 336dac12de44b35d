"""Results of metrics about actions and cohorts, which change without any event."""

from typing import Any

from tests.support.service import Service, event


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
