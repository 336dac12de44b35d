"""When two events are the same: sent again they are stored once, and different ones are never taken for one."""

import asyncio
import uuid
from typing import Any

import pytest

from app.events.uuids import uuid_beside
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

UUID = "00000000-0000-4000-8000-000000000001"
NIL = "00000000-0000-0000-0000-000000000000"


async def stored(service: Service) -> list[tuple[str, str]]:
    page = await service.read("/events/", limit=1000)
    return sorted((one["event"], one["distinct_id"]) for one in page["results"])


async def test_different_events_under_one_uuid_are_all_stored_and_each_once(service: Service) -> None:
    created, paid, of_bob = (
        event("order_created", "ann", uuid=UUID),
        event("order_paid", "ann", uuid=UUID, properties={"$set": {"paid": True}}),
        event("order_created", "bob", uuid=UUID),
    )
    for batch in ([created, paid], [paid], [created, of_bob], [of_bob, paid, created], [paid, created, of_bob]):
        await service.capture(*batch)

    assert await stored(service) == [("order_created", "ann"), ("order_created", "bob"), ("order_paid", "ann")]
    [ann] = (await service.read("/persons/", distinct_id="ann"))["results"]
    assert ann["properties"]["paid"] is True


async def test_event_that_was_first_keeps_its_uuid_when_it_is_sent_behind_another(service: Service) -> None:
    first, second = event("first", "ann", uuid=UUID), event("second", "ann", uuid=UUID)
    await service.capture(first)

    await service.capture(second, first)

    shown = {one["event"]: one["id"] for one in (await service.read("/events/"))["results"]}
    assert shown["first"] == UUID
    assert len(shown) == 2
    assert shown["second"] not in {UUID, NIL}


@pytest.mark.each_database
async def test_requests_that_arrive_together_keep_all_events(service: Service) -> None:
    """They share a commit, in which the uuid is used by the first of them."""
    names = [f"event {number}" for number in range(20)]

    for _ in range(2):
        await asyncio.gather(*(service.capture(event(name, "ann", uuid=UUID)) for name in names))

    assert await stored(service) == sorted((name, "ann") for name in names)


@pytest.mark.each_database
async def test_large_batches_under_used_uuids_are_stored_once(service: Service) -> None:
    def batch(name: str) -> list[dict[str, object]]:
        return [event(name, f"user {number}", uuid=f"{UUID[:-4]}{number:04}") for number in range(300)]

    for name in ("seen", "bought", "bought", "seen"):
        await service.capture(*batch(name))

    assert len(await stored(service)) == 600


@pytest.mark.each_database
async def test_large_batches_at_the_same_time_lose_no_event_to_each_other(service: Service) -> None:
    """They are written in transactions of their own, each of which may find the uuids free and then taken."""
    who = [f"user {number}" for number in range(250)]
    await service.capture(*(event("known", one) for one in who))
    batches = [[event(name, one, uuid=f"{UUID[:-4]}{number:04}") for number, one in enumerate(who)] for name in "abcd"]

    for _ in range(2):
        await asyncio.gather(*(service.capture(*batch) for batch in batches))

    names = [
        one["event"] for name in "abcd" for one in (await service.read("/events/", event=name, limit=1000))["results"]
    ]
    assert sorted(names) == sorted("abcd" * len(who))


async def test_group_described_under_a_used_uuid_is_stored(service: Service) -> None:
    described = {"$group_type": "company", "$group_key": "acme", "$group_set": {"plan": "paid"}}
    await service.capture(event("visit", "ann", uuid=UUID))

    await service.capture(event("$groupidentify", "ann", uuid=UUID, properties=described))

    [group] = (await service.read("/groups/", group_type_index=0))["results"]
    assert group["group_properties"] == {"plan": "paid"}
    assert len(await stored(service)) == 2


@pytest.mark.parametrize("none", [NIL, NIL.replace("-", ""), "", None])
async def test_nil_uuid_is_none(service: Service, none: str | None) -> None:
    await service.capture(*(event("visit", "ann", uuid=none) for _ in range(2)))

    page = await service.read("/events/")
    assert len(page["results"]) == 2
    assert all(one["id"] != NIL for one in page["results"])


@pytest.mark.parametrize(
    ("again", "count"),
    [
        ({}, 1),
        ({"timestamp": None, "offset": 3_000}, 1),  # as of a queue, and at unload
        ({"event": "click"}, 2),
        ({"distinct_id": "bob"}, 2),
        ({"properties": {"$insert_id": "another", "$time": 1667383200.5}}, 2),
        ({"properties": {"$insert_id": "abc123", "$time": 1667383201.5}}, 2),
        ({"uuid": UUID}, 2),
    ],
)
async def test_insert_id_tells_an_event_that_is_sent_again(service: Service, again: dict[str, Any], count: int) -> None:
    sent = event("visit", "ann", properties={"$insert_id": "abc123", "$time": 1667383200.5})

    await service.capture(sent)
    await service.capture({**sent, **again})

    assert len(await stored(service)) == count


async def test_insert_id_without_a_time_goes_by_the_timestamp(service: Service) -> None:
    sent = event("visit", "ann", properties={"$insert_id": "abc123"})
    for timestamp in (
        "2022-11-02T10:00:00Z",
        "2022-11-02T10:00:00.000Z",
        1667383200,
        "2022-11-02T10:00:01Z",
        None,
        None,
    ):
        await service.capture({**sent, "timestamp": timestamp})

    assert len(await stored(service)) == 3


def test_uuid_beside_another_is_always_the_same() -> None:

    used = uuid.UUID(UUID)
    derived = {uuid_beside(used, name, who) for name in ("a", "b") for who in ("a", "b") for _ in range(2)}

    assert len(derived) == 4
    assert {one.version for one in derived} == {8}
