"""Metrics about actions: an event counts once if it is the action in any of its ways."""

from typing import Any

import pytest

from app.errors import ValidationFailed
from app.facts.series import ActionSource, EventSource
from app.properties.filters import Conjunction, parse_filter
from app.questions.entities import event_names, mentioned_actions, read_entities, refuse_missing_actions
from app.questions.reading import read_funnel, read_trend
from tests.service import Service, event


def where(key: str, value: object) -> Any:
    return parse_filter([{"key": key, "value": value}])


BUY = ActionSource("Buy", [EventSource("purchase", where("paid", "yes")), EventSource("order", Conjunction())])
ACTIONS = {3: BUY, 4: ActionSource("Nothing", [])}


def test_an_entity_is_the_action_in_any_of_its_ways_and_passes_its_own_filter() -> None:
    [entity] = read_entities({"actions": [{"id": 3, "properties": [{"key": "x", "value": 1}]}]}, ACTIONS)

    assert entity.sources == (
        EventSource("purchase", parse_filter([{"key": "x", "value": 1}, {"key": "paid", "value": "yes"}])),
        EventSource("order", where("x", 1)),
    )
    assert (entity.kind, entity.name, entity.step_name) == ("actions", "Buy", "Buy")
    assert event_names([entity]) == ["order", "purchase"]


def test_a_filter_on_test_accounts_stands_before_all_others() -> None:
    always = where("email", "real")
    entities = read_entities({"events": [{"id": "a", "order": 1}], "actions": [{"id": "3"}]}, ACTIONS, always)

    assert [[source.filter for source in entity.sources or ()] for entity in entities] == [
        [parse_filter([{"key": "email", "value": "real"}, {"key": "paid", "value": "yes"}]), always],
        [always],
    ]


@pytest.mark.parametrize("key", ["actions", "exclusions"])
def test_a_funnel_with_an_action_that_is_gone_is_refused(key: str) -> None:
    gone = {"id": 9, "type": "actions", "funnel_from_step": 0, "funnel_to_step": 1}
    filters: Any = {"events": [{"id": "a"}, {"id": "b", "order": 1}], key: [gone]}

    with pytest.raises(ValidationFailed) as refusal:
        read_funnel(filters, ACTIONS)

    assert (refusal.value.detail, refusal.value.code, refusal.value.attr) == (
        "Action ID 9 does not exist!",
        "invalid_input",
        None,
    )


def test_a_trend_of_an_action_that_is_gone_has_no_data() -> None:
    assert read_trend({"actions": [{"id": 9}]}, ACTIONS) is None


def test_an_action_without_steps_matches_nothing() -> None:
    [entity] = read_entities({"actions": [{"id": 4}]}, ACTIONS)

    refuse_missing_actions([entity])
    assert entity.sources == ()


@pytest.mark.parametrize(
    ("filters", "mentioned"),
    [
        ({}, set()),
        ({"actions": [{"id": 3}, {"id": "4"}, {"id": "x"}, {"id": 2**40}, {"id": None}]}, {3, 4}),
        ({"actions": '[{"id": 5}]', "exclusions": [{"id": 6, "type": "actions"}, {"id": "7"}]}, {5, 6}),
    ],
)
def test_the_actions_that_an_insight_mentions_are_found(filters: Any, mentioned: set[int]) -> None:
    assert mentioned_actions(filters) == mentioned


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
