"""Flags that read stored persons and groups."""

import pytest
from pydantic import JsonValue

from tests.flags.evaluation.asking import COUNTRY, ask, create_flag, values
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

SIZE = {"key": "size", "value": 100, "operator": "gt", "type": "group", "group_type_index": 0}


async def test_stored_property_decides_until_the_client_says_otherwise(service: Service) -> None:
    await create_flag(service, filters={"groups": [{"properties": [COUNTRY]}]})
    await service.capture(event("visit", "ann", properties={"$set": {"country": "NL"}}))

    assert await values(service, "ann") == {"beta-feature": True}
    assert await values(service, "ann", person_properties={"country": "DE"}) == {"beta-feature": False}
    assert await values(service, "ann", person_properties={"city": "Utrecht"}) == {"beta-feature": True}
    assert await values(service, "bob") == {"beta-feature": False}
    assert await values(service, "bob", person_properties={"country": "NL"}) == {"beta-feature": True}


@pytest.mark.parametrize(
    ("operator", "value", "has", "lacks"),
    [
        ("exact", True, [True, "true"], [False, 1, "yes"]),
        ("exact", "true", [True, "true"], [False]),
        ("exact", [False], [False, "false"], [True, 0]),
        ("is_not", False, [True, 7], [False, "false"]),
        ("exact", "2.5", [2.5, "2.5"], [25, "2.50"]),
        ("exact", ["Pro"], ["pro", "PRO"], ["prof"]),
        ("is_not", "Pro", ["free"], ["pro"]),
        ("exact", '["a", "b"]', [["a", "b"]], ["a"]),
        ("exact", 'a "b"\\c', ['a "b"\\c'], ['a "b"c']),
        ("icontains", "My_", ["my_name"], ["my name"]),
        ("not_icontains", "50%", ["50 or 60%"], ["50% or 60"]),
        ("icontains", "\\", ["a\\b"], ["ab"]),
        ("is_date_after", "2022-11-01", ["2022-11-01T12:00:00Z"], ["2022-11-01", "2022-10-31T23:59:59Z"]),
    ],
)
async def test_values_are_compared_as_what_they_are(
    service: Service, operator: str, value: JsonValue, has: list[JsonValue], lacks: list[JsonValue]
) -> None:
    condition = {"key": "trait", "operator": operator, "value": value, "type": "person"}
    await create_flag(service, filters={"groups": [{"properties": [condition]}]})

    for trait, expected in [*((one, True) for one in has), *((one, False) for one in lacks)]:
        await service.capture(event("visit", "ann", properties={"$set": {"trait": trait}}))
        assert await values(service, "ann") == {"beta-feature": expected}, trait
        assert await values(service, "bob", person_properties={"trait": trait}) == {"beta-feature": expected}, trait


async def test_absence_is_looked_up_also_when_everything_else_was_sent(service: Service) -> None:
    absent = {"key": "country", "operator": "is_not_set", "value": "is_not_set", "type": "person"}
    await create_flag(service, filters={"groups": [{"properties": [absent]}]})
    await service.capture(event("visit", "ann"), event("visit", "bob", properties={"$set": {"country": "NL"}}))

    assert await values(service, "ann") == {"beta-feature": True}
    assert await values(service, "bob", person_properties={"city": "Utrecht"}) == {"beta-feature": False}
    assert await values(service, "stranger", person_properties={"city": "Utrecht"}) == {"beta-feature": False}


@pytest.mark.parametrize("path", ["/flags/?v=1", "/decide/?v=3"])
async def test_condition_on_the_distinct_id_matches_the_person_of_the_request(service: Service, path: str) -> None:
    named = {"key": "distinct_id", "value": ["lembert", "d'argental"], "operator": "exact", "type": "person"}
    await create_flag(service, "named", filters={"groups": [{"properties": [named]}]})
    await create_flag(service, "others", filters={"groups": [{"properties": [{**named, "operator": "is_not"}]}]})
    await service.capture(event("visit", "lembert", properties={"$set": {"distinct_id": "somebody else"}}))

    for distinct_id, expected in (("lembert", True), ("d'argental", True), ("voltaire", False)):
        flags = (await ask(service, path, distinct_id))["featureFlags"]
        assert flags == {"named": expected, "others": not expected}, distinct_id
    sent = await ask(service, path, "voltaire", person_properties={"distinct_id": "lembert"})
    assert sent["featureFlags"] == {"named": True, "others": False}  # as SDKs read it


@pytest.mark.each_database
async def test_condition_on_the_group_key_matches_the_group_of_the_request(service: Service) -> None:
    named = {"key": "$group_key", "value": "acme", "operator": "exact", "type": "group", "group_type_index": 0}
    filters = {"groups": [{"properties": [named]}, {"properties": [SIZE]}], "aggregation_group_type_index": 0}
    await create_flag(service, filters=filters)
    await service.capture(
        event(
            "$groupidentify",
            "x",
            properties={"$group_type": "company", "$group_key": "big", "$group_set": {"size": 101}},
        )
    )

    for company, expected in (("acme", True), ("big", True), ("small", False)):
        assert await values(service, "ann", groups={"company": company}) == {"beta-feature": expected}, company


async def test_identifier_is_known_by_its_first_200_characters(service: Service) -> None:
    await create_flag(service, filters={"groups": [{"properties": [COUNTRY]}]})
    await service.capture(event("visit", "a" * 250, properties={"$set": {"country": "NL"}}))

    assert await values(service, "a" * 250) == {"beta-feature": True}


async def test_group_flag_without_such_a_group_is_off(service: Service) -> None:
    await create_flag(service, filters={"groups": [{"properties": []}], "aggregation_group_type_index": 0})

    response = await service.client.post(
        "/flags/?v=2", json={"token": service.token, "distinct_id": "ann", "groups": {"company": "acme"}}
    )

    found = response.json()["flags"]["beta-feature"]
    assert found["enabled"] is False
    assert found["reason"] == {"code": "no_group_type", "condition_index": None, "description": "No group type"}


@pytest.mark.parametrize(
    ("groups", "group_properties", "expected"),
    [
        ({"company": "acme"}, {}, True),
        ({"company": "acme"}, {"company": {"size": 7}}, False),
        ({"company": "other"}, {}, False),
        ({"company": "other"}, {"company": {"size": 700}}, True),
        ({"company": "acme", "team": "red"}, {"team": {"size": 7}}, True),
        ({"team": "acme"}, {}, False),
        ({}, {"company": {"size": 700}}, False),
    ],
)
async def test_group_flag_looks_at_what_is_sent_and_stored_of_the_group(
    service: Service, *, groups: dict[str, str], group_properties: dict[str, dict[str, int]], expected: bool
) -> None:
    acme = {"$group_type": "company", "$group_key": "acme", "$group_set": {"size": 200}}
    await service.capture(
        event("$groupidentify", "ann", properties=acme), event("visit", "ann", properties={"$groups": {"team": "red"}})
    )
    await create_flag(service, filters={"groups": [{"properties": [SIZE]}], "aggregation_group_type_index": 0})

    assert await values(service, "ann", groups=groups, group_properties=group_properties) == {"beta-feature": expected}


async def test_all_persons_of_a_group_get_the_value_of_its_key(service: Service) -> None:
    await service.capture(event("visit", "ann", properties={"$groups": {"project": "4"}}))
    half = {"groups": [{"properties": [], "rollout_percentage": 50}], "aggregation_group_type_index": 0}
    await create_flag(service, filters=half)

    for person in ("example_id", "another_id"):  # one in either half by themselves
        assert await values(service, person, groups={"project": "4"}) == {"beta-feature": True}
        assert await values(service, person, groups={"project": 1}) == {"beta-feature": False}


@pytest.mark.parametrize("kind", ["static", "dynamic"])
async def test_visitor_without_events_is_outside_of_cohorts(service: Service, kind: str) -> None:
    criteria = {"is_static": True} if kind == "static" else {"groups": [{"properties": [COUNTRY]}]}
    cohort = (await service.post("/cohorts/", {"name": "Staff", **criteria})).json()
    condition = {"key": "id", "value": cohort["id"], "type": "cohort", "operator": "not_in"}
    plan = {"key": "plan", "value": "free", "type": "person"}
    await create_flag(service, filters={"groups": [{"properties": [condition, plan]}]})

    found = [await values(service, "stranger", person_properties={"plan": plan}) for plan in ("free", "paid")] + [
        await values(service, "stranger")
    ]
    await service.capture(event("visit", "stranger", properties={"$set": {"plan": "free"}}))

    assert [one["beta-feature"] for one in found] == [True, False, False]
    assert await values(service, "stranger") == {"beta-feature": True}


async def test_cohorts_are_asked_about_persons_who_are_stored(service: Service) -> None:
    cohort = (await service.post("/cohorts/", {"name": "Dutch", "groups": [{"properties": [COUNTRY]}]})).json()
    condition = {"key": "id", "value": cohort["id"], "type": "cohort"}
    await create_flag(service, filters={"groups": [{"properties": [condition]}]})
    people = {"ann": True, "bob": False, "stranger": False}
    await service.capture(
        event("visit", "ann", properties={"$set": {"country": "NL"}}),
        event("visit", "bob", properties={"$set": {"country": "DE"}}),
    )

    for person, is_on in people.items():
        assert await values(service, person, person_properties={"country": "NL"}) == {"beta-feature": is_on}, person

    await service.capture(*(event("first view", person, properties={"$lib": "web"}) for person in people))
    page = await service.read("/events/", event="first view")
    told = {one["distinct_id"]: "$feature/beta-feature" in one["properties"] for one in page["results"]}
    assert told == people
