"""Persons without a profile: their events count, and nothing is written about them."""

from typing import Any

import pytest

from tests.support.service import FUNNEL, Service, event, exposure

pytestmark = pytest.mark.one_database


def unprofiled(name: str, distinct_id: str, **properties: Any) -> dict[str, object]:
    return event(name, distinct_id, properties={"$process_person_profile": False, **properties})


async def persons(service: Service) -> dict[str, dict[str, Any]]:
    """Return the properties of listed persons, by their distinct ids."""
    page = await service.read("/persons/")
    return {
        " ".join(sorted(one["distinct_ids"])): {
            name: value for name, value in one["properties"].items() if name != "$creator_event_uuid"
        }
        for one in page["results"]
    }


async def test_no_profile_is_written_until_an_event_may_write_one(service: Service) -> None:
    await service.capture(
        unprofiled("visit", "ann", **{"$set": {"a": 1}, "$set_once": {"b": 1}, "utm_source": "x", "$browser": "y"})
    )
    assert await persons(service) == {}
    assert (await service.read("/persons/", distinct_id="ann"))["results"] == []

    await service.capture(event("plain", "ann"))
    assert await persons(service) == {"ann": {}}

    await service.capture(unprofiled("visit", "ann", **{"$set": {"a": 1}, "$unset": ["c"]}))
    await service.capture(event("sets", "ann", properties={"$set": {"c": 1}}), unprofiled("visit", "ann"))

    assert await persons(service) == {"ann": {"c": 1}}
    [ann] = (await service.read("/persons/"))["results"]
    assert "$creator_event_uuid" in ann["properties"]


async def test_events_of_one_person_belong_to_it_with_and_without_a_profile(service: Service) -> None:
    await service.capture(unprofiled("a", "ann"), unprofiled("b", "ann"), event("c", "ann"), unprofiled("d", "ann"))

    shown = (await service.read("/events/"))["results"]

    assert len({one["person"]["uuid"] for one in shown}) == 1


async def test_login_joins_the_events_before_it(service: Service) -> None:
    await service.capture(unprofiled("visit", "device"), event("other", "bob", properties={"$set": {"plan": "pro"}}))
    await service.capture(
        event("$identify", "ann", properties={"$anon_distinct_id": "device", "$set": {"name": "Ann"}}),
        unprofiled("visit", "phone"),
        event("$identify", "bob", properties={"$anon_distinct_id": "phone"}),
    )

    assert await persons(service) == {"ann device": {"name": "Ann"}, "bob phone": {"plan": "pro"}}


async def test_event_that_writes_no_profile_joins_nobody(service: Service) -> None:
    await service.capture(
        event("visit", "ann"),
        event("visit", "bob"),
        unprofiled("$merge_dangerously", "ann", alias="bob"),
        unprofiled("$identify", "ann", **{"$anon_distinct_id": "carl"}),
    )

    assert await persons(service) == {"ann": {}, "bob": {}}


async def test_experiments_count_persons_without_a_profile(service: Service) -> None:
    experiment = await service.create_experiment(filters=FUNNEL)
    said = {"$process_person_profile": False}
    events: list[dict[str, object]] = []
    for number in range(6):
        variant = "control" if number % 2 else "test"
        shown = exposure(f"device {number}", variant)
        shown["properties"] = {**shown["properties"], **said}  # type: ignore[dict-item]  # as it was made
        events += [
            shown,
            event("$pageview", f"device {number}", variant=variant, properties=said),
            event("purchase", f"device {number}", "2022-11-02T11:00:00Z", variant=variant, properties=said),
        ]
    await service.capture(*events)
    await service.capture(event("$identify", "ann", properties={"$anon_distinct_id": "device 1"}))

    exposures = await service.read(f"/experiments/{experiment['id']}/exposures/")
    results = await service.read(f"/experiments/{experiment['id']}/results/")

    assert exposures["total_exposures"] == {"control": 3, "test": 3, "$multiple": 0}
    assert {group[0]["breakdown_value"][0]: [step["count"] for step in group] for group in results["insight"]} == {
        "control": [3, 3],
        "test": [3, 3],
    }
