"""Facts of entities with filters on persons, groups, sessions and cohorts, as of the time of reading."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from app.metrics.aggregation.calendar import Window
from app.metrics.aggregation.trend import TrendCounts
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.facts.columns import FactColumns
from app.metrics.facts.event_sets import event_set
from app.metrics.facts.series import EventSource
from app.people.persons.repository import PersonRepository
from app.properties.filters import parse_filter
from tests.support.service import Service, event

EVER = Window(0, 10**18)


class Cohorts:
    """Cohort 1 holds the person with the distinct id Ann; it is the only one."""

    async def members(self, session: AsyncSession, project_id: int, cohort_id: int) -> NDArray[np.int64]:
        ids = (await PersonRepository(session, project_id).ids(["ann"]))[0] if cohort_id == 1 else {}
        return np.array(list(ids.values()), dtype=np.int64)


async def found(
    service: Service, application: FastAPI, *sources: tuple[str, object], actor: str | None = None
) -> list[str]:
    """Return the ``n`` of the events that sources with such properties find, in the order of arrival."""
    facts = FactService(application.state.database, application.state.materializer, service.project_id, Cohorts())
    watched = event_set(
        [EventSource(name, parse_filter(properties)) for name, properties in sources],
        "n",
        actor_property=actor,
        actor_required=actor is not None,
    )
    names = [str(number) for number in range(1, 20)]
    seen: list[FactColumns] = []

    def look(parts: Sequence[FactColumns]) -> TrendCounts:
        seen.extend(parts)
        return TrendCounts(np.zeros((1, 1)), np.zeros(3, dtype=np.int64))

    metric = FactQuery([watched], EVER, names, look, TrendCounts.from_bytes, additive_over=None, parameters=())
    await facts.count(metric, await facts.catch_up([metric]))
    [columns] = seen
    order = np.argsort(columns.sequence)
    return [names[variant - 1] for variant in columns.variant[order]]


def numbered(*events: dict[str, object]) -> list[dict[str, object]]:
    for number, one in enumerate(events, start=1):
        one["properties"] = {**one["properties"], "n": str(number)}  # type: ignore[dict-item]
    return list(events)


def person(key: str, value: object, **members: object) -> dict[str, object]:
    return {"key": key, "value": value, "type": "person", **members}


def group(key: str, value: object, **members: object) -> dict[str, object]:
    return {"key": key, "value": value, "type": "group", "group_type_index": 0, **members}


IDENTIFIED: list[dict[str, Any]] = [
    event("$identify", "ann", properties={"$set": {"plan": "paid"}}),
    event("$identify", "bob", properties={"$set": {"plan": "free"}}),
    event(
        "$groupidentify",
        "ann",
        properties={"$group_type": "company", "$group_key": "acme", "$group_set": {"size": 10}},
    ),
    event(
        "$groupidentify",
        "ann",
        properties={"$group_type": "company", "$group_key": "tiny", "$group_set": {"size": 1}},
    ),
]

EVENTS = numbered(
    event("a", "ann", properties={"x": 1, "$groups": {"company": "acme"}, "$session_id": "s1"}),
    event("a", "ann", "2022-11-02T10:00:30Z", properties={"x": 2, "$groups": {"company": "tiny"}}),
    event("a", "bob", properties={"x": 1, "$session_id": "s2"}),
    event("a", "bob", properties={"x": 2, "$groups": {"company": "unknown"}, "$session_id": "s2"}),
    event("b", "bob", "2022-11-02T10:05:00Z", properties={"$session_id": "s1"}),
)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([("a", None)], "1234"),
        ([("a", None), ("b", None)], "12345"),
        ([("a", [person("plan", "paid")])], "12"),
        ([("a", [person("plan", "paid"), {"key": "x", "value": 1}])], "1"),
        ([("a", {"type": "OR", "values": [person("plan", "paid"), {"key": "x", "value": 2}]})], "124"),
        ([("a", [person("plan", "paid")]), ("a", [{"key": "x", "value": 2}]), ("b", [person("plan", "free")])], "1245"),
        ([("a", [group("size", 5, operator="gt")])], "1"),
        ([("a", [group("size", 10, operator="is_not")])], "2"),
        ([("a", {"type": "OR", "values": [group("size", 10), person("plan", "free")]})], "134"),
        ([("a", [{"key": "id", "value": 1, "type": "cohort"}])], "12"),
        ([("a", [{"key": "id", "value": "1", "type": "cohort", "operator": "is_not", "negation": True}])], "12"),
        ([("a", [{"key": "id", "value": 2, "type": "cohort"}])], ""),
        ([("a", [{"key": "$session_duration", "value": 299, "operator": "gt", "type": "session"}])], "1"),
        ([("a", [{"key": "$session_duration", "value": 1, "operator": "lt", "type": "session"}])], "34"),
        ([], ""),
    ],
)
async def test_entity_has_events_that_pass_its_filter(
    service: Service, application: FastAPI, sources: list[tuple[str, object]], expected: str
) -> None:
    await service.capture(*IDENTIFIED, *EVENTS)

    assert await found(service, application, *sources) == list(expected)


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (None, "124"),
        ([person("plan", "paid")], "12"),
        ([group("size", 5, operator="gt")], "1"),
        ([{"key": "$session_duration", "value": 299, "operator": "gt", "type": "session"}], "1"),
        ([{"key": "id", "value": 1, "type": "cohort"}], "12"),
    ],
)
async def test_groups_as_actors_can_be_filtered_by_person(
    service: Service, application: FastAPI, properties: object, expected: str
) -> None:
    await service.capture(*IDENTIFIED, *EVENTS)

    assert await found(service, application, ("a", properties), actor="$group_0") == list(expected)


@pytest.mark.one_database
async def test_filters_read_current_properties_of_persons_and_groups(service: Service, application: FastAPI) -> None:
    await service.capture(*IDENTIFIED, *EVENTS)
    paid, large = ("a", [person("plan", "paid")]), ("a", [group("size", 5, operator="gt")])
    assert (await found(service, application, paid), await found(service, application, large)) == (["1", "2"], ["1"])

    grown = {"$group_type": "company", "$group_key": "tiny", "$group_set": {"size": 100}}
    await service.capture(
        event("$identify", "bob", properties={"$set": {"plan": "paid"}}),
        event("$groupidentify", "bob", properties=grown),
    )

    assert await found(service, application, paid) == ["1", "2", "3", "4"]
    assert await found(service, application, large) == ["1", "2"]
