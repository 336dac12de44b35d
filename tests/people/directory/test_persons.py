"""Persons as members of a project find, read and change them."""

import json
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from app.common import limits
from app.people.directory.names import name_of
from tests.support.service import Json, Service, event


async def known_persons(service: Service) -> None:
    profiles: dict[str, dict[str, object]] = {
        "ann": {"email": "Ann@x.com", "plan": "team", "age": 31},
        "bob": {"email": "bob@x.com", "plan": "free"},
        "cem": {"plan": "team"},
        'd"é': {"email": "dé%_@x.com"},
    }
    await service.capture(*[event("visit", name, properties={"$set": profile}) for name, profile in profiles.items()])
    await service.capture(event("$identify", "ann", properties={"$anon_distinct_id": "ann's phone"}))


async def shown(service: Service, **parameters: object) -> list[str]:
    """Return the first distinct ids of the persons on all pages."""
    names: list[str] = []
    address: str | None = "/persons/"
    while address:
        page = await service.read(address, **parameters)
        names += [person["distinct_ids"][0] for person in page["results"]]
        address = page["next"] and page["next"].removeprefix(f"http://abacus.test{service.project}")
        parameters = {}
    return names


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({"email": "bob@x.com"}, ["bob"]),
        ({"email": "ann@x.com"}, []),  # in another case
        ({"email": "bob"}, []),
        ({"email": "dé%_@x.com"}, ['d"é']),
        ({"search": "X.COM"}, ['d"é', "bob", "ann"]),
        ({"search": "É%_"}, ['d"é']),
        ({"search": "%"}, ['d"é']),
        ({"search": "ann's phone"}, ["ann"]),
        ({"search": "ann's"}, []),  # not the whole id
        ({"search": "team"}, []),  # another property
        ({"email": "bob@x.com", "search": "ann"}, []),
        ({"email": "bob@x.com", "distinct_id": "ann"}, []),
        ({"distinct_id": "ann's phone", "search": "x.com"}, ["ann"]),
        ({"email": "", "search": "", "properties": "", "cohort": ""}, ['d"é', "cem", "bob", "ann"]),
    ],
)
async def test_persons_are_found_by_email_and_by_search(
    service: Service, parameters: dict[str, str], names: list[str]
) -> None:
    await known_persons(service)

    assert await shown(service, **parameters) == names


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("properties", "names"),
    [
        ([{"key": "plan", "value": "team"}], ["cem", "ann"]),
        ([{"key": "plan", "value": ["team", "free"], "type": "person"}], ["cem", "bob", "ann"]),
        ([{"key": "plan", "value": "team", "operator": "is_not", "type": "person"}], ['d"é', "bob"]),
        ([{"key": "age", "value": 30, "operator": "gt", "type": "person"}], ["ann"]),
        ([{"key": "email", "operator": "is_not_set", "type": "person"}], ["cem"]),
        ({"plan": "team", "email__icontains": "x.com"}, ["ann"]),
        (
            {
                "type": "OR",
                "values": [
                    {"type": "AND", "values": [{"key": "plan", "value": "free", "type": "person"}]},
                    {"type": "AND", "values": [{"key": "age", "value": 31, "type": "person"}]},
                ],
            },
            ["bob", "ann"],
        ),
        ([], ['d"é', "cem", "bob", "ann"]),
    ],
)
async def test_persons_are_found_by_properties(service: Service, properties: Json, names: list[str]) -> None:
    await known_persons(service)

    assert await shown(service, properties=json.dumps(properties)) == names


@pytest.mark.one_database
async def test_persons_are_found_by_cohort(service: Service) -> None:
    await known_persons(service)
    listed = {"name": "l", "is_static": True, "distinct_ids": ["ann's phone", "cem"]}
    static = (await service.post("/cohorts/", listed)).json()["id"]
    groups = [{"properties": [{"key": "plan", "value": "team", "type": "person"}]}]
    dynamic = (await service.post("/cohorts/", {"name": "d", "groups": groups})).json()["id"]
    in_static = json.dumps([{"key": "id", "value": static, "type": "cohort"}])

    assert await shown(service, cohort=static) == ["cem", "ann"]
    assert await shown(service, cohort=dynamic) == ["cem", "ann"]
    assert await shown(service, cohort=dynamic, email="Ann@x.com") == ["ann"]
    assert await shown(service, properties=in_static, search="x.com") == ["ann"]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("parameters", "attr"),
    [
        ({"properties": "plan"}, "properties"),
        ({"properties": '[{"key": "plan", "value": "a", "operator": "equals"}]'}, "properties"),
        ({"properties": '[{"key": "plan"}]'}, "properties"),
        ({"properties": '[{"value": "a"}]'}, "properties"),
        ({"properties": '{"plan__equals": "a"}'}, "properties"),
        ({"properties": "7"}, "properties"),
        ({"properties": '[{"key": "plan", "value": "(", "operator": "regex"}]'}, "properties"),
        ({"properties": '[{"key": "a", "value": "b", "type": "group", "group_type_index": 0}]'}, "properties"),
        ({"properties": '[{"key": "id", "value": 999, "type": "cohort"}]'}, None),
        ({"cohort": "999"}, None),
        ({"cohort": "all"}, "cohort"),
        ({"email": "a@x.com", "cursor": "x"}, "cursor"),
        ({"email": "a@x.com", "cursor": "9" * 30}, "cursor"),
    ],
)
async def test_filter_that_is_not_understood_is_refused(
    service: Service, parameters: dict[str, str], attr: str | None
) -> None:
    refused = await service.get("/persons/", **parameters)

    assert (refused.status_code, refused.json()["attr"]) == (400, attr), refused.text


async def test_list_ends_a_page_where_enough_persons_were_tested(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = ["team" if number % 3 == 0 else "free" for number in range(10)]
    await service.capture(
        *[event("visit", f"p{at}", properties={"$set": {"plan": plan}}) for at, plan in enumerate(plans)]
    )
    team = json.dumps([{"key": "plan", "value": "team"}])
    assert await shown(service, properties=team) == ["p9", "p6", "p3", "p0"]

    monkeypatch.setattr(limits, "SEARCHED_ROWS", replace(limits.SEARCHED_ROWS, value=2))

    first = await service.read("/persons/", properties=team, limit=3)
    assert ([one["name"] for one in first["results"]], first["previous"]) == (["p9"], None)
    assert await shown(service, properties=team) == ["p9", "p6", "p3", "p0"]
    assert await shown(service, properties=team, limit=1) == ["p9", "p6", "p3", "p0"]
    assert await shown(service, properties=team, offset=2) == ["p3", "p0"]


@pytest.mark.one_database
async def test_person_is_read_by_id_and_by_uuid(service: Service) -> None:
    await known_persons(service)
    [listed] = (await service.read("/persons/", distinct_id="ann"))["results"]

    for reference in (listed["id"], listed["uuid"], listed["uuid"].upper()):
        assert await service.read(f"/persons/{reference}/") == listed
    for other in (uuid4(), "ann", "0"):
        assert (await service.get(f"/persons/{other}/")).status_code == 404


@pytest.mark.parametrize(
    ("properties", "distinct_ids", "name"),
    [
        ({"Name": "Ann", "email": "a@x"}, ["ann"], "a@x"),
        ({"email": "", "username": "ann7"}, ["ann"], "ann7"),
        ({"email": {"a": 1}}, ["ann"], "ann"),
        ({}, ["17787c3099427b-0e8f6c86323ea9-33647309-1aeaa0-17787c30995b7c", "ann"], "ann"),
        ({}, [str(uuid4()), "ann", "bob"], "ann"),
    ],
)
def test_person_is_named_as_in_2022(properties: dict[str, object], distinct_ids: list[str], name: str) -> None:
    assert name_of(properties, distinct_ids) == name


@pytest.mark.one_database
async def test_properties_are_changed_one_by_one(service: Service) -> None:
    await known_persons(service)
    [person] = (await service.read("/persons/", distinct_id="cem"))["results"]
    path = f"/persons/{person['uuid']}/"
    given = [
        await service.patch(path, {"properties": {"plan": "free", "tags": [1, {"a": None}]}}),
        await service.request("PUT", path, json={"properties": {"age": 7}}),
        await service.post(f"{path}update_property/", {"key": "note", "value": {"x": "y"}}),
        await service.post(f"{path}delete_property/", {"$unset": "$creator_event_uuid"}),
        await service.post(f"{path}delete_property/", {"$unset": "nothing"}),
    ]

    assert [(one.status_code, one.text) for one in given] == [(204, "")] * 3 + [(201, '{"success":true}')] * 2
    assert not any("Warning" in one.headers for one in given)
    changed = await service.read(path)
    assert changed == {
        **person,
        "properties": {"plan": "free", "tags": [1, {"a": None}], "age": 7, "note": {"x": "y"}},
    }
    assert len((await service.read("/events/", distinct_id="cem"))["results"]) == 1  # no event says so
    log = (await service.read(f"{path}activity/"))["results"]
    assert [one["activity"] for one in log] == ["delete_property"] * 2 + ["updated"] * 3
    assert log[-1]["detail"]["changes"] == [
        {"field": "properties", "action": "created", "before": None, "after": ["plan", "tags"]}
    ]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("address", "body", "code", "attr"),
    [
        ("", {}, "required", "properties"),
        ("", {"properties": [1]}, "invalid_input", "properties"),
        ("", {"properties": {"a": "x" * 600_000}}, "too_large", "properties"),
        ("", {"properties": {"a": json.loads("[" * 80 + "]" * 80)}}, "invalid_input", "properties"),
        ("update_property/", {"value": 1}, "required", "key"),
        ("update_property/", {"key": "a"}, "required", "value"),
        ("delete_property/", {}, "required", "$unset"),
        ("split/", {"main_distinct_id": "bob"}, "invalid_input", "main_distinct_id"),
    ],
)
async def test_change_that_is_not_understood_is_refused(
    service: Service, address: str, body: dict[str, Any], code: str, attr: str
) -> None:
    await known_persons(service)
    [person] = (await service.read("/persons/", distinct_id="ann"))["results"]

    refused = await service.request("POST" if address else "PATCH", f"/persons/{person['id']}/{address}", json=body)

    assert (refused.status_code, refused.json()["code"], refused.json()["attr"]) == (400, code, attr), refused.text
    assert await service.read(f"/persons/{person['id']}/") == person


async def test_split_gives_other_ids_persons_of_their_own_from_now_on(service: Service) -> None:
    await known_persons(service)
    [ann] = (await service.read("/persons/", distinct_id="ann"))["results"]
    experiment = await service.create_experiment()
    before = await service.read(f"/experiments/{experiment['id']}/exposures/")

    split = await service.post(f"/persons/{ann['id']}/split/", {"main_distinct_id": "ann"})

    assert (split.status_code, split.json()) == (201, {"success": True})
    assert await service.read(f"/persons/{ann['id']}/") == {**ann, "distinct_ids": ["ann"]}
    [phone] = (await service.read("/persons/", distinct_id="ann's phone"))["results"]
    assert (phone["properties"], phone["is_identified"]) == ({}, False)
    assert await service.read(f"/experiments/{experiment['id']}/exposures/") == before
    await service.capture(event("visit", "ann's phone"), event("visit", "ann"))
    assert len((await service.read("/events/", person_id=phone["id"]))["results"]) == 1
    assert len((await service.read("/events/", person_id=ann["id"]))["results"]) == 3
    assert (await service.post(f"/persons/{ann['id']}/split/", {})).status_code == 201
    assert (await service.read(f"/persons/{ann['id']}/"))["properties"] == {}  # as in 2022
