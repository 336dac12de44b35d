"""The list of events."""

import json
from dataclasses import replace

import pytest

from app.common import limits
from tests.support.service import Service, event


@pytest.mark.one_database
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


@pytest.mark.one_database
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


@pytest.mark.one_database
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


@pytest.mark.one_database
async def test_person_is_found_by_any_of_its_ids(service: Service) -> None:
    await service.capture(event("$identify", "ann", properties={"$anon_distinct_id": "device"}), event("visit", "bob"))

    for distinct_id in ("ann", "device"):
        [person] = (await service.read("/persons/", distinct_id=distinct_id))["results"]
        assert sorted(person["distinct_ids"]) == ["ann", "device"]
    assert (await service.read("/persons/", distinct_id="unknown"))["results"] == []


AMOUNT = {"key": "amount", "value": 10, "operator": "gt", "type": "event"}
TEAM = {"key": "plan", "value": ["team"], "type": "person"}


@pytest.mark.parametrize(
    ("properties", "numbers"),
    [
        ([AMOUNT], [4, 3]),
        ([TEAM], [3, 1]),
        ([AMOUNT, TEAM], [3]),
        ({"type": "OR", "values": [AMOUNT, TEAM]}, [4, 3, 1]),
        ([{**TEAM, "operator": "is_not"}], [4, 2]),
        ({"amount": 5}, [2]),
        ([], [4, 3, 2, 1]),
    ],
)
async def test_events_are_found_by_properties_of_events_and_persons(
    service: Service, monkeypatch: pytest.MonkeyPatch, properties: object, numbers: list[int]
) -> None:
    amounts = {1: ("ann", None), 2: ("bob", 5), 3: ("ann", 20), 4: ("bob", 30)}
    profile = {"$anon_distinct_id": "phone", "$set": {"plan": "team"}}
    await service.capture(event("$identify", "ann", properties=profile))
    await service.capture(
        *[event("buy", name, properties={"n": n, "amount": amount}) for n, (name, amount) in amounts.items()]
    )

    for rows in (20_000, 1):
        monkeypatch.setattr(limits, "SEARCHED_ROWS", replace(limits.SEARCHED_ROWS, value=rows))
        assert await numbers_of(service, event="buy", properties=json.dumps(properties), limit=2) == numbers


async def numbers_of(service: Service, **parameters: object) -> list[int]:
    found: list[int] = []
    address: str | None = "/events/"
    while address:
        page = await service.read(address, **parameters)
        found += [one["properties"]["n"] for one in page["results"]]
        address = page["next"] and page["next"].removeprefix(f"http://abacus.test{service.project}")
        parameters = {}
    return found


async def test_events_are_found_by_person_under_any_id_and_by_cohort(service: Service) -> None:
    await service.capture(event("a", "phone", properties={"n": 1}), event("a", "bob", properties={"n": 2}))
    await service.capture(event("a", "ann", properties={"n": 3, "$set": {"plan": "team"}}))
    await service.capture(event("$identify", "ann", properties={"n": 4, "$anon_distinct_id": "phone"}))
    [ann] = (await service.read("/persons/", distinct_id="ann"))["results"]
    cohort = (await service.post("/cohorts/", {"name": "l", "is_static": True, "distinct_ids": ["bob"]})).json()["id"]

    assert sorted(await numbers_of(service, person_id=ann["id"])) == [1, 3, 4]
    assert sorted(await numbers_of(service, person_id=ann["uuid"])) == [1, 3, 4]
    assert await numbers_of(service, person_id=ann["id"], event="$identify") == [4]
    assert await numbers_of(service, person_id=ann["id"], distinct_id="bob") == []
    for nobody in ("999999999", "ann", "0184305c-6f00-4000-8000-000000000005"):
        assert await numbers_of(service, person_id=nobody) == []
    assert await numbers_of(service, properties=json.dumps([{"key": "id", "value": cohort, "type": "cohort"}])) == [2]


@pytest.mark.one_database
@pytest.mark.parametrize(
    "properties",
    [
        "amount",
        '[{"key": "a", "value": 1, "operator": "equals"}]',
        '[{"key": "a"}]',
        '[{"key": "a", "value": 1, "type": "group", "group_type_index": 0}]',
        '[{"key": "$session_duration", "value": 1, "type": "session"}]',
        '[{"key": "a", "value": "(", "operator": "regex"}]',
        '[{"key": "id", "value": "no", "type": "cohort"}]',
    ],
)
async def test_filter_of_events_that_is_not_understood_is_refused(service: Service, properties: str) -> None:
    refused = await service.get("/events/", properties=properties)

    assert (refused.status_code, refused.json()["attr"]) == (400, "properties"), refused.text


@pytest.mark.one_database
async def test_list_ends_a_page_where_enough_bytes_were_tested(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.capture(*[event("buy", "ann", properties={"n": n, "note": "x" * 1_000}) for n in range(6)])
    monkeypatch.setattr("app.events.service._READ_AT_A_TIME", 1)
    monkeypatch.setattr(limits, "SEARCHED_BYTES", replace(limits.SEARCHED_BYTES, value=2_500))

    page = await service.read("/events/", properties='[{"key": "n", "value": 2}]')

    assert (page["results"], page["next"] is None) == ([], False)  # three of them were tested
    assert await numbers_of(service, properties='[{"key": "n", "value": 2}]') == [2]
