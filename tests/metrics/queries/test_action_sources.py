"""Metrics of actions: an event counts once if it matches any step of the action."""

from typing import Any

import pytest

from app.common.errors import ValidationFailed
from app.metrics.facts.series import ActionSource, EventSource
from app.metrics.queries.entities import event_names, mentioned_actions, read_entities, refuse_missing_actions
from app.metrics.queries.parsing import read_funnel, read_trend
from app.properties.filters import Conjunction, parse_filter


def where(key: str, value: object) -> Any:
    return parse_filter([{"key": key, "value": value}])


BUY = ActionSource("Buy", [EventSource("purchase", where("paid", "yes")), EventSource("order", Conjunction())])
ACTIONS = {3: BUY, 4: ActionSource("Nothing", [])}


def test_entity_combines_steps_of_action_with_its_own_filter() -> None:
    [entity] = read_entities({"actions": [{"id": 3, "properties": [{"key": "x", "value": 1}]}]}, ACTIONS)

    assert entity.sources == (
        EventSource("purchase", parse_filter([{"key": "x", "value": 1}, {"key": "paid", "value": "yes"}])),
        EventSource("order", where("x", 1)),
    )
    assert (entity.kind, entity.name, entity.step_name) == ("actions", "Buy", "Buy")
    assert event_names([entity]) == ["order", "purchase"]


def test_filter_on_test_accounts_precedes_all_others() -> None:
    always = where("email", "real")
    entities = read_entities({"events": [{"id": "a", "order": 1}], "actions": [{"id": "3"}]}, ACTIONS, always)

    assert [[source.filter for source in entity.sources or ()] for entity in entities] == [
        [parse_filter([{"key": "email", "value": "real"}, {"key": "paid", "value": "yes"}]), always],
        [always],
    ]


@pytest.mark.parametrize("key", ["actions", "exclusions"])
def test_funnel_with_missing_action_is_refused(key: str) -> None:
    gone = {"id": 9, "type": "actions", "funnel_from_step": 0, "funnel_to_step": 1}
    filters: Any = {"events": [{"id": "a"}, {"id": "b", "order": 1}], key: [gone]}

    with pytest.raises(ValidationFailed) as refusal:
        read_funnel(filters, ACTIONS)

    assert (refusal.value.detail, refusal.value.code, refusal.value.attr) == (
        "Action ID 9 does not exist!",
        "invalid_input",
        None,
    )


def test_trend_names_a_missing_action() -> None:
    with pytest.raises(ValidationFailed, match="Action ID 9 does not exist!"):
        read_trend({"actions": [{"id": 9}]}, ACTIONS)


def test_action_without_steps_matches_nothing() -> None:
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
def test_mentioned_actions_are_found(filters: Any, mentioned: set[int]) -> None:
    assert mentioned_actions(filters) == mentioned
