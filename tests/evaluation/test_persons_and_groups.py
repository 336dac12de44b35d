"""Flags that look at what is stored of persons and groups."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Database
from app.dependencies import evaluated_cohorts
from app.evaluation.active_flags import ActiveFlags
from app.evaluation.decoding import FlagsRequest
from app.evaluation.service import EvaluationService
from app.flags.evaluation import enabled_values
from app.flags.repository import FlagRepository
from app.models import FeatureFlag
from tests.evaluation.asking import COUNTRY, create_flag, values
from tests.service import Service, event

SIZE = {"key": "size", "value": 100, "operator": "gt", "type": "group", "group_type_index": 0}


class Companies:
    """The groups of a project that tells companies and teams apart, and knows one company."""

    def __init__(self, _session: AsyncSession, _project_id: int) -> None: ...

    async def type_names(self) -> Mapping[int, str]:
        return {0: "company", 1: "team"}

    async def properties_of(self, groups: Collection[tuple[int, str]]) -> Mapping[tuple[int, str], str]:
        known = {(0, "acme"): '{"size": 200}'}
        return {group: known[group] for group in groups if group in known}


class Listed:
    """Cohorts that have everybody who lives in the Netherlands in number 3."""

    def __init__(self, _session: AsyncSession, _project_id: int) -> None: ...

    async def containing(self, person_id: int, properties: str, cohorts: Collection[int]) -> Collection[int]:
        assert person_id > 0
        return {3} & set(cohorts) if '"NL"' in properties else set()

    async def definitions(self, cohorts: Collection[int]) -> Mapping[int, JsonValue]:
        return {}


async def test_a_stored_property_decides_until_the_client_says_otherwise(service: Service) -> None:
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
        ("exact", "2.50", [2.5, "2.50"], [25]),
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


async def test_an_identifier_is_known_by_its_first_200_characters(service: Service) -> None:
    await create_flag(service, filters={"groups": [{"properties": [COUNTRY]}]})
    await service.capture(event("visit", "a" * 250, properties={"$set": {"country": "NL"}}))

    assert await values(service, "a" * 250) == {"beta-feature": True}


async def test_a_group_flag_without_such_a_group_is_off(service: Service) -> None:
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
        ({"company": "acme"}, {"company": {"size": b"7"}}, False),
        ({"company": "other"}, {}, False),
        ({"company": "other"}, {"company": {"size": b"700"}}, True),
        ({"team": "acme"}, {}, False),
        ({}, {"company": {"size": b"700"}}, False),
    ],
)
async def test_a_group_flag_looks_at_what_is_sent_and_stored_of_the_group(
    service: Service,
    database: Database,
    *,
    groups: dict[str, str],
    group_properties: dict[str, dict[str, bytes]],
    expected: bool,
) -> None:
    filters = {"groups": [{"properties": [SIZE]}], "aggregation_group_type_index": 0}
    await create_flag(service, filters=filters)
    evaluation = EvaluationService(database, ActiveFlags(database, Companies), Companies, evaluated_cohorts)
    project = await evaluation.find_project(service.token)

    asked = FlagsRequest(service.token, "ann", groups=groups, group_properties=group_properties)
    found = await evaluation.evaluate(project, asked, "ann")

    assert [answer.enabled for answer in found.answers] == [expected]


async def test_cohorts_are_asked_about_persons_who_are_stored(service: Service, database: Database) -> None:
    cohort = {"key": "id", "value": 3, "type": "cohort"}
    filters: dict[str, Any] = {"groups": [{"properties": [cohort]}]}
    async with database.write() as session:
        await FlagRepository(session, service.project_id).add(FeatureFlag(key="dutch", filters=filters))
    await service.capture(
        event("visit", "ann", properties={"$set": {"country": "NL"}}),
        event("visit", "bob", properties={"$set": {"country": "DE"}}),
    )
    evaluation = EvaluationService(database, ActiveFlags(database, Companies), Companies, Listed)
    project = await evaluation.find_project(service.token)

    async def is_on(distinct_id: str) -> bool:
        asked = FlagsRequest(service.token, distinct_id, person_properties={"country": b'"NL"'})
        return bool(enabled_values((await evaluation.evaluate(project, asked, distinct_id)).answers))

    assert await is_on("ann")
    assert not await is_on("bob")
    assert not await is_on("stranger")
    stored = await evaluation.evaluate_stored(project, ["ann", "bob"])
    assert [bool(enabled_values(stored[person].answers)) for person in ("ann", "bob")] == [True, False]
