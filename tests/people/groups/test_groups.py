"""Groups are stored from events, and listed."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.service import Service, event


def identify(kind: object, key: object, properties: object = None, **members: Any) -> dict[str, object]:
    said = {"$group_type": kind, "$group_key": key, "$group_set": properties}
    return event("$groupidentify", "ann", properties=said, **members)


async def groups(service: Service, index: int = 0) -> dict[str, Any]:
    answer = await service.read("/groups/", group_type_index=index)
    return {one["group_key"]: one["group_properties"] for one in answer["results"]}


async def stored(service: Service) -> list[Any]:
    """Return the properties of all events but the client's address, oldest first."""
    found = [one["properties"] for one in (await service.read("/events/"))["results"]][::-1]
    return [{name: value for name, value in properties.items() if name != "$ip"} for properties in found]


async def test_types_get_their_indexes_in_the_order_of_first_sight(service: Service) -> None:
    await service.capture(
        event("a", "ann", "2022-11-02T10:00:01Z", properties={"$groups": {"company": "acme", "team": 7}}),
        event("a", "ann", "2022-11-02T10:00:02Z", properties={"$groups": {"team": "red"}}),
    )
    await service.capture(event("a", "ann", "2022-11-02T10:00:03Z", properties={"$groups": {"city": "Bonn"}, "x": 1}))

    shown = await service.read("/groups_types/")

    assert shown == [
        {"group_type": name, "group_type_index": index, "name_singular": None, "name_plural": None}
        for index, name in enumerate(("company", "team", "city"))
    ]
    assert await stored(service) == [
        {"$groups": {"company": "acme", "team": 7}, "$group_0": "acme", "$group_1": 7},
        {"$groups": {"team": "red"}, "$group_1": "red"},
        {"$groups": {"city": "Bonn"}, "x": 1, "$group_2": "Bonn"},
    ]


@pytest.mark.one_database
async def test_description_is_a_sight_too(service: Service) -> None:
    await service.capture(
        identify("company", "acme", {"plan": "free"}),
        event("a", "ann", properties={"$groups": {"team": "red"}}),
        identify("city", "Bonn"),
    )

    assert [shown["group_type"] for shown in await service.read("/groups_types/")] == ["company", "team", "city"]


@pytest.mark.one_database
async def test_sixth_type_is_left_out(service: Service) -> None:
    await service.capture(
        event("a", "ann", properties={"$groups": {f"type {number}": "key" for number in range(7)}}),
        identify("type 6", "key"),
    )

    assert len(await service.read("/groups_types/")) == 5
    [properties, _] = await stored(service)
    assert [name for name in properties if name.startswith("$group_")] == [f"$group_{index}" for index in range(5)]


@pytest.mark.one_database
async def test_properties_of_a_group_are_added_and_the_later_one_wins(service: Service) -> None:
    await service.capture(
        identify("company", "acme", {"plan": "free", "size": 3}),
        identify("company", "acme", {"plan": "paid"}),
        identify("company", 5, {"plan": "free"}),
    )
    await service.capture(identify("company", "acme", {"city": "Bonn"}))

    assert await groups(service) == {"acme": {"plan": "paid", "size": 3, "city": "Bonn"}, "5": {"plan": "free"}}


@pytest.mark.one_database
async def test_event_that_is_sent_again_does_not_turn_a_group_back(service: Service) -> None:
    first = identify("company", "acme", {"plan": "free"}, uuid="0185e5bc-0000-7000-8000-000000000001")
    await service.capture(first)
    await service.capture(identify("company", "acme", {"plan": "paid"}))
    await service.capture(first)

    assert await groups(service) == {"acme": {"plan": "paid"}}


async def test_group_is_shown_in_the_shape_of_2022(service: Service) -> None:
    await service.capture(identify("company", "acme", {"plan": "free"}), identify("company", "Other"))

    answer = await service.read("/groups/", group_type_index=0, search="CM")

    assert answer == {
        "next": None,
        "previous": None,
        "results": [
            {
                "group_type_index": 0,
                "group_key": "acme",
                "group_properties": {"plan": "free"},
                "created_at": "2022-11-02T10:00:00Z",
            }
        ],
    }


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, "required"),
        ({"group_type_index": "x"}, "invalid_input"),
        ({"group_type_index": 5}, "invalid_input"),
        ({"group_type_index": 0, "search": "\0"}, "null_characters_not_allowed"),
    ],
)
async def test_list_of_groups_needs_a_type(service: Service, parameters: dict[str, Any], code: str) -> None:
    response = await service.get("/groups/", **parameters)

    assert (response.status_code, response.json()["code"]) == (400, code)


@pytest.mark.one_database
@pytest.mark.parametrize(
    "properties",
    [
        {"$groups": None},
        {"$groups": []},
        {"$groups": {"": "x"}},
        {"$groups": {"a" * 401: "x"}},
        {"$groups": {"a\0b": "x\0y", "\ud800": "\ud800"}},
        {"$groups": {"deep": [[[{"a": 1}]]]}},
        {"$group_type": "a", "$group_key": "\0", "$group_set": {"a\0": 1, "b": "\ud800", "c": "\0", "d": 1}},
        {"$group_type": "a", "$group_key": None, "$group_set": {}},
        {"$group_type": {"a": 1}, "$group_key": [1], "$group_set": 3},
        {"$group_type": "a", "$group_key": "k" * 500, "$group_set": {"n": 10**400}},
    ],
)
async def test_whatever_stands_where_groups_are_expected_is_survived(
    service: Service, properties: dict[str, Any]
) -> None:
    body = json.dumps({"api_key": service.token, "batch": [event("$groupidentify", "ann", properties=properties)]})
    response = await service.client.post("/batch/", content=body)
    assert response.status_code == 200, response.text

    assert (await service.get("/groups/", group_type_index=0)).status_code == 200
    assert (await service.get("/groups_types/")).status_code == 200
    assert len(await stored(service)) == 1


async def test_writers_at_the_same_time_agree_on_types_and_groups(service: Service) -> None:
    async def write(writer: int) -> None:
        for number in range(3):
            await service.capture(
                event("a", f"{writer}", properties={"$groups": {f"type {(writer + number) % 4}": "key"}}),
                identify("type 0", "shared", {f"by {writer}": number}),
                identify("type 0", f"key {number}", {}),
            )

    await asyncio.gather(*[write(writer) for writer in range(4)])

    types = await service.read("/groups_types/")
    assert [one["group_type_index"] for one in types] == [0, 1, 2, 3]
    index = next(one["group_type_index"] for one in types if one["group_type"] == "type 0")
    shared = (await groups(service, index))["shared"]
    assert shared == {f"by {writer}": 2 for writer in range(4)}


@pytest.mark.one_database
@pytest.mark.parametrize(
    "nothing", [None, "", " ", "\t", False, True, [], {}, ["acme"], {"id": 5}, "undefined", "null", "None", "NaN"]
)
async def test_what_is_written_for_no_group_is_none(service: Service, nothing: object) -> None:
    await service.capture(
        event("a", "ann", properties={"$groups": {"company": nothing, "team": "red"}}),
        identify("company", nothing, {"plan": "free"}),
        identify(nothing, "acme", {"plan": "free"}),
    )

    assert [shown["group_type"] for shown in await service.read("/groups_types/")] == ["team"]
    assert {"$groups": {"company": nothing, "team": "red"}, "$group_0": "red"} in await stored(service)


@pytest.mark.one_database
@pytest.mark.parametrize("nothing", [None, " ", False, [], {}, "undefined"])
async def test_flags_know_no_such_group_either(service: Service, nothing: object) -> None:
    await service.capture(event("a", "ann", properties={"$groups": {"company": "acme"}}))
    groups = [{"properties": [], "rollout_percentage": 100}]
    created = await service.post(
        "/feature_flags/", {"key": "by-company", "filters": {"groups": groups, "aggregation_group_type_index": 0}}
    )
    assert created.status_code == 201, created.text

    answers = [
        await service.client.post(
            "/flags/?v=2", json={"token": service.token, "distinct_id": "ann", "groups": {"company": key}}
        )
        for key in ("acme", 7, nothing)
    ]

    assert [answer.json()["flags"]["by-company"]["enabled"] for answer in answers] == [True, True, False]
