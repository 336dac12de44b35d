"""A metric that tests all persons, or all groups, of a project does so in slices, between which others are served."""

import pytest

from tests.support.loop_monitor import monitor
from tests.support.service import Json, Service, event

MANY = 600
HELD_MS = 60  # 180 to 200 in one piece
# Each is tested for every person and group, because none of them passes.
CONDITIONS = [{"key": "plan", "value": f"a{number}", "operator": "icontains"} for number in range(190)]


async def store_persons_and_groups(service: Service) -> None:
    plan = {"plan": "pro"}
    described = [
        event(
            "$groupidentify",
            f"u{number}",
            properties={"$group_type": "company", "$group_key": f"{number}", "$group_set": plan},
        )
        for number in range(MANY)
    ]
    seen = [
        event("view", f"u{number}", properties={"$set": plan, "$groups": {"company": f"{number}"}})
        for number in range(MANY)
    ]
    await service.capture(*described, *seen)


async def conditions(service: Service) -> list[Json]:
    """Return a condition on a cohort, one on persons, and one on groups."""
    of_persons = [{"type": "person", **one} for one in CONDITIONS]
    any_of_them = {"type": "OR", "values": of_persons}
    created = await service.post(
        "/cohorts/", {"name": "Costly", "filters": {"properties": {"type": "OR", "values": [any_of_them]}}}
    )
    assert created.status_code == 201, created.text
    of_groups = [{"type": "group", "group_type_index": 0, **one} for one in CONDITIONS]
    return [
        {"type": "AND", "values": [{"key": "id", "type": "cohort", "value": created.json()["id"]}]},
        any_of_them,
        {"type": "OR", "values": of_groups},
    ]


@pytest.mark.one_database
async def test_metric_that_tests_all_persons_or_groups_does_not_hold_the_loop(service: Service) -> None:
    await store_persons_and_groups(service)
    for condition in await conditions(service):
        series = [{"id": "view", "type": "events", "order": 0}]
        asked = {"events": series, "date_from": "2022-11-01", "date_to": "2022-11-03"}
        assert (await service.post("/insights/trend/", asked)).json()["result"][0]["count"] == MANY
        with monitor() as held:
            answer = await service.post("/insights/trend/", {**asked, "properties": condition})
        assert answer.status_code == 200, answer.text
        assert sum(one["count"] for one in answer.json()["result"]) == 0
        assert held.longest_ms < HELD_MS, condition["values"][0]["type"]
