"""The list of events."""

import pytest

from tests.support.service import Service, event


async def test_event_is_shown_with_its_person(service: Service) -> None:
    await service.capture(
        event(
            "purchase", "ann", uuid="00000000-0000-4000-8000-000000000001", properties={"amount": 1, "$set": {"a": 1}}
        )
    )

    page = await service.read("/events/")
    [person] = (await service.read("/persons/"))["results"]

    assert page == {
        "next": None,
        "results": [
            {
                "id": "00000000-0000-4000-8000-000000000001",
                "distinct_id": "ann",
                "event": "purchase",
                "timestamp": "2022-11-02T10:00:00Z",
                "properties": {"amount": 1, "$set": {"a": 1}, "$ip": "127.0.0.1"},
                "person": {
                    "uuid": person["uuid"],
                    "distinct_ids": ["ann"],
                    "properties": {"a": 1, "$creator_event_uuid": "00000000-0000-4000-8000-000000000001"},
                    "is_identified": False,
                    "created_at": "2022-11-02T10:00:00Z",
                },
            }
        ],
    }
    assert person == {
        "id": person["id"],
        "uuid": person["uuid"],
        "name": "ann",
        "distinct_ids": ["ann"],
        "properties": {"a": 1, "$creator_event_uuid": "00000000-0000-4000-8000-000000000001"},
        "is_identified": False,
        "created_at": "2022-11-02T10:00:00Z",
    }


async def test_event_of_a_merged_person_shows_who_it_is_today(service: Service) -> None:
    await service.capture(event("visit", "device"), event("visit", "ann"))
    await service.capture(event("$identify", "ann", properties={"$anon_distinct_id": "device"}))

    events = (await service.read("/events/"))["results"]

    assert len({one["person"]["uuid"] for one in events}) == 1


async def test_pages_follow_each_other_without_a_gap_or_a_repetition(service: Service) -> None:
    same_moment = [event("visit", f"{number}") for number in range(5)]
    others = [event("visit", f"later {number}", f"2022-11-03T10:00:0{number}Z") for number in range(2)]
    await service.capture(*same_moment, *others)

    seen: list[str] = []
    address: str | None = "/events/?limit=2"
    while address:
        page = await service.read(address)
        seen += [one["distinct_id"] for one in page["results"]]
        address = page["next"].removeprefix(f"http://abacus.test{service.project}") if page["next"] else None

    assert seen == ["later 1", "later 0", "4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        ({"event": "purchase"}, ["b"]),
        ({"distinct_id": "ann"}, ["b", "a"]),
        ({"after": "2022-11-02T10:00:00Z"}, ["c", "b"]),
        ({"before": "2022-11-03T10:00:00Z"}, ["a"]),
        ({"event": "nothing"}, []),
        ({"limit": "nonsense"}, ["c", "b", "a"]),
    ],
)
async def test_events_can_be_picked(service: Service, parameters: dict[str, str], shown: list[str]) -> None:
    await service.capture(
        event("visit", "ann", "2022-11-02T10:00:00Z", properties={"n": "a"}),
        event("purchase", "ann", "2022-11-03T10:00:00Z", properties={"n": "b"}),
        event("visit", "bob", "2022-11-04T10:00:00Z", properties={"n": "c"}),
    )

    page = await service.read("/events/", **parameters)

    assert [one["properties"]["n"] for one in page["results"]] == shown


@pytest.mark.parametrize(
    "address",
    [
        "/events/?event=%00",
        "/events/?after=then",
        "/events/?cursor=x",
        f"/events/?cursor={2**70}_1",
        "/persons/?distinct_id=%00",
    ],
)
async def test_invalid_query_parameter_is_refused(service: Service, address: str) -> None:
    assert (await service.get(address)).status_code == 400


async def test_person_is_found_by_any_of_its_ids(service: Service) -> None:
    await service.capture(event("$identify", "ann", properties={"$anon_distinct_id": "device"}), event("visit", "bob"))

    for distinct_id in ("ann", "device"):
        [person] = (await service.read("/persons/", distinct_id=distinct_id))["results"]
        assert sorted(person["distinct_ids"]) == ["ann", "device"]
    assert (await service.read("/persons/", distinct_id="unknown"))["results"] == []
