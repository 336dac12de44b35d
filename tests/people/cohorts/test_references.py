"""A cohort's id is read alike wherever a condition names a cohort."""

from collections.abc import Callable
from typing import Any

import pytest

from app.common import limits
from app.common.ids import MAX_ID
from app.events.actions.matching import check_properties
from app.flags.evaluation.rules import prepare
from app.flags.local_evaluation.documents import cohort_ids
from app.people.cohorts.criteria import read_filters, referred_cohorts
from app.properties.filters import InvalidFilter, parse_filter
from app.properties.subjects import cohorts_in
from tests.support.service import Service

pytestmark = pytest.mark.one_database

IDS = [
    (3, 3),
    ("3", 3),
    ("003", 3),
    ("0" * 20 + "3", 3),
    (" 3", 3),
    ("3\n", 3),
    ("+3", 3),
    (MAX_ID, MAX_ID),
    (str(MAX_ID), MAX_ID),
]
NOT_IDS = [
    *(
        "+ 3",
        "3 3",
        "-3",
        "3.0",
        "3e0",
        "3_0",
        "\N{ARABIC-INDIC DIGIT THREE}",
        "",
        "all",
        "true",
        "9" * 5000,
    ),
    *(0, -3, MAX_ID + 1, 10**4000, str(MAX_ID + 1), 3.0, True, False, [3], {"id": 3}),
]


def condition(value: object) -> dict[str, Any]:
    return {"key": "id", "value": value, "type": "cohort"}


def in_flag(value: object) -> set[int]:
    return set(prepare(flag_id=1, key="f", filters={"groups": [{"properties": [condition(value)]}]}).cohorts)


def in_definition(value: object) -> set[int]:
    return set(cohort_ids([{"groups": [{"properties": [condition(value)]}]}]))


def in_fact(value: object) -> set[int]:
    return set(cohorts_in(parse_filter([condition(value)])))


def in_criteria(value: object) -> set[int]:
    return set(referred_cohorts(read_filters({"properties": [condition(value)]})))


@pytest.mark.parametrize(("value", "expected"), IDS)
@pytest.mark.parametrize("read", [in_flag, in_definition, in_fact, in_criteria])
def test_every_place_reads_the_same_id(read: Callable[[object], set[int]], value: object, expected: int) -> None:
    assert read(value) == {expected}


@pytest.mark.parametrize("value", NOT_IDS, ids=lambda value: repr(value)[:20])
def test_every_place_refuses_other_values(value: object) -> None:
    assert [in_flag(value), in_definition(value)] == [set(), set()]
    with pytest.raises(InvalidFilter, match="A cohort is referred to by its id, got "):
        in_fact(value)
    with pytest.raises(InvalidFilter, match="A cohort is referred to by its id, got "):
        in_criteria(value)
    with pytest.raises(InvalidFilter, match="A cohort is referred to by its id, got "):
        check_properties([condition(value)])


async def test_every_write_refuses_a_reference_that_is_not_an_id(service: Service) -> None:
    cohort = (await service.post("/cohorts/", {"name": "Testers", "is_static": True, "distinct_ids": ["ann"]})).json()
    properties = [condition(f"#{cohort['id']}")]
    events = [{"id": name, "order": place, "properties": properties} for place, name in enumerate(["seen", "bought"])]
    experiment = {"name": "e", "feature_flag_key": "e", "filters": {"insight": "FUNNELS", "events": events}}

    responses = [
        await service.post("/feature_flags/", {"key": "a", "filters": {"groups": [{"properties": properties}]}}),
        await service.post("/cohorts/", {"name": "Others", "filters": {"properties": properties}}),
        await service.post("/actions/", {"name": "Seen", "steps": [{"event": "a", "properties": properties}]}),
        await service.post("/experiments/", experiment),
    ]

    assert [(response.status_code, response.json()["detail"]) for response in responses] == [
        (400, f"Cohort with id #{cohort['id']} does not exist"),
        *[(400, f'A cohort is referred to by its id, got "#{cohort["id"]}"')] * 3,
    ]


async def test_cohort_refers_to_a_number_of_others_directly_or_through_them(service: Service) -> None:
    async def refer_to(*numbers: int) -> Any:
        values = [condition(number) for number in numbers]
        filters = {"properties": {"type": "OR", "values": values}}
        return (await service.post("/cohorts/", {"name": "c", "filters": filters})).json()

    most = limits.REFERRED_COHORTS.value
    leaves = [(await service.post("/cohorts/", {"name": "c", "is_static": True})).json()["id"] for _ in range(most + 1)]
    middle = await refer_to(*leaves[: most - 1])

    refused = await refer_to(middle["id"], *leaves[-2:])
    assert (refused["code"], refused["detail"]) == ("too_many_cohorts", limits.REFERRED_COHORTS.detail)
    assert "id" in await refer_to(middle["id"])
