"""Criteria and membership, without a database."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.people.cohorts.criteria import read_criteria, read_filters, read_groups, referred_cohorts
from app.people.cohorts.matching import CohortMatcher
from app.properties.decoding import PropertyReader
from app.properties.filters import Group, InvalidFilter

Document = Any  # JSON


def plan(value: str, **members: object) -> Document:
    return {"key": "plan", "value": value, "type": "person", **members}


def cohort(cohort_id: object, **members: object) -> Document:
    return {"key": "id", "value": cohort_id, "type": "cohort", **members}


def filters(kind: str, *values: Document) -> Document:
    return {"properties": {"type": kind, "values": list(values)}}


def group(kind: str, *values: Document) -> Document:
    return {"type": kind, "values": list(values)}


def read(document: Document) -> Group:
    criteria = read_filters(document)
    assert criteria is not None
    return criteria


def cohorts_of(criteria: Mapping[int, Group], *listed_in: int, **properties: object) -> set[int]:
    matcher = CohortMatcher(criteria, LISTED)
    return matcher.cohorts_of(PropertyReader(matcher.keys).read(json.dumps(properties)), listed_in)


LISTED = (7, 8, 9)  # cohorts that are lists of persons
PRO_DUTCH = group("AND", plan("pro"), {"key": "country", "value": "NL", "type": "person"})


@pytest.mark.parametrize(
    ("document", "person", "is_in"),
    [
        (filters("OR", PRO_DUTCH, group("AND", plan("team"))), {"plan": "team"}, True),
        (filters("OR", PRO_DUTCH, group("AND", plan("team"))), {"plan": "pro", "country": "NL"}, True),
        (filters("OR", PRO_DUTCH, group("AND", plan("team"))), {"plan": "pro"}, False),
        (filters("AND", plan("pro")), {"plan": "pro"}, True),
        (filters("AND", {"key": "plan", "value": "pro"}), {"plan": "pro"}, True),
        (filters("AND", {"key": "plan", "value": "pro", "type": "event"}), {"plan": "pro"}, True),
        (filters("AND", plan("pro", negation=True)), {"plan": "pro"}, False),
        (filters("AND", plan("pro", negation=True)), {}, True),
        (filters("AND", {"key": "plan", "operator": "is_set", "type": "person"}), {"plan": None}, True),
        (filters("OR", group("AND"), group("AND", plan("pro"))), {"plan": "free"}, False),
        ({"properties": [plan("pro")]}, {"plan": "pro"}, True),
        ({"properties": {"plan": "pro"}}, {"plan": "pro"}, True),
        ({"properties": {"age__gt": 3}}, {"age": 3}, False),
    ],
)
def test_filters_say_who_is_in(document: Document, person: dict[str, object], *, is_in: bool) -> None:
    assert cohorts_of({1: read(document)}, **person) == ({1} if is_in else set())


@pytest.mark.parametrize(
    ("groups", "person", "is_in"),
    [
        ([{"properties": [plan("pro")]}, {"properties": [plan("team")]}], {"plan": "team"}, True),
        ([{"properties": [plan("pro"), {"key": "country", "value": "NL"}]}], {"plan": "pro"}, False),
        ([{"properties": []}, {"properties": [plan("pro")]}], {"plan": "free"}, False),
        ([{"properties": {"plan": "pro"}}], {"plan": "pro"}, True),
        ([{"properties": group("OR", plan("pro"), plan("team"))}], {"plan": "team"}, True),
    ],
)
def test_groups_say_who_is_in(groups: list[Document], person: dict[str, object], *, is_in: bool) -> None:
    criteria = read_groups(groups)

    assert criteria is not None
    assert cohorts_of({1: criteria}, **person) == ({1} if is_in else set())


@pytest.mark.parametrize(
    "document", [None, {}, {"properties": {}}, {"properties": []}, {"properties": None}, filters("OR", group("AND"))]
)
def test_criteria_that_ask_for_nothing_are_none(document: Document) -> None:
    assert read_filters(document) is None
    assert read_criteria(document, []) is None
    assert read_criteria(document, [{}, {"properties": []}]) is None


def test_filters_count_where_both_forms_say_something() -> None:
    assert read_criteria(filters("AND", plan("pro")), [{"properties": [plan("team")]}]) == read_filters(
        filters("AND", plan("pro"))
    )
    assert read_criteria({}, [{"properties": [plan("team")]}]) == read_groups([{"properties": [plan("team")]}])


BEHAVIORAL = "Behavioral criteria cannot be evaluated"
REFUSED = [
    ({"type": "OR", "values": []}, "Must contain a 'properties' key"),
    ({"properties": "[]"}, "Properties are unparsable!"),
    ({"properties": 3}, "Properties are unparsable!"),
    (filters("XOR", plan("pro")), "PropertyGroup is unparsable"),
    (filters("AND", plan("pro"), group("OR")), "cannot contain both"),
    (filters("AND", {"type": "behavioral", "key": "$pageview", "value": "performed_event"}), BEHAVIORAL),
    (filters("OR", group("AND", plan("pro"), {"type": "behavioral", "key": 1, "value": "x"})), BEHAVIORAL),
    (
        filters("AND", plan("pro"), {"key": "country", "type": "person"}),
        "'country': The operator 'exact' needs a value",
    ),
    (filters("AND", plan("pro"), {"value": "NL", "type": "person"}), "A property needs a key"),
    (filters("AND", plan("pro"), "country"), 'A property is an object, got "country"'),
    (filters("AND", plan("pro"), None), "A property is an object, got null"),
    ({"properties": [group("AND", plan("pro"))]}, "A property needs a key"),
    (filters("AND", plan("pro", type="person_and_event")), 'the type "person_and_event" is not known'),
    (filters("AND", plan("pro", type="group", group_type_index=0)), "not about 'group'"),
    (filters("AND", plan("pro", type="element")), "not about 'element'"),
    (filters("AND", plan("(", operator="regex")), "Invalid regular expression"),
    (filters("AND", cohort("all")), 'referred to by its id, got "all"'),
    (filters("AND", cohort(0)), "referred to by its id, got 0"),
    (filters("AND", cohort(-1)), "referred to by its id, got -1"),
    (filters("AND", cohort(2**31)), "referred to by its id, got 2147483648"),
    (filters("AND", cohort(10**4000)), "referred to by its id, got 1000"),
    (filters("AND", cohort(None, value=True)), "referred to by its id, got true"),
    (filters("AND", cohort([1])), "referred to by its id, got [1]"),
    (filters("AND", cohort(1.5)), "referred to by its id, got 1.5"),
]


@pytest.mark.parametrize(("document", "reason"), REFUSED)
def test_conditions_that_would_match_others_are_refused(document: Document, reason: str) -> None:
    with pytest.raises(InvalidFilter) as refusal:
        read_filters(document)

    assert reason in refusal.value.detail


@pytest.mark.parametrize(
    "groups",
    [[{"action_id": 1, "days": 7}], [{"event_id": "$pageview"}], [{"properties": [plan("pro")], "event_id": "a"}]],
)
def test_groups_about_what_persons_did_are_refused(groups: list[Document]) -> None:
    with pytest.raises(InvalidFilter, match=BEHAVIORAL):
        read_groups(groups)


def test_cohort_may_refer_to_others_of_both_kinds() -> None:
    criteria = {
        3: read(filters("OR", group("AND", cohort(2), cohort("9", type="static-cohort")), group("AND", plan("vip")))),
        2: read(filters("AND", cohort(1, type="precalculated-cohort", negation=True))),
        1: read(filters("AND", plan("free"))),
    }

    assert referred_cohorts(criteria[3]) == {2, 9}
    assert cohorts_of(criteria, 9, plan="pro") == {2, 3, 9}
    assert cohorts_of(criteria, plan="pro") == {2}
    assert cohorts_of(criteria, 9, plan="free") == {1, 9}
    assert cohorts_of(criteria, plan="vip") == {2, 3}


def test_no_condition_on_an_unknown_cohort_holds_directly_or_through_others() -> None:
    criteria = {
        1: read(filters("AND", cohort(404))),
        2: read(filters("AND", cohort(404, negation=True))),
        3: read(filters("AND", cohort(404, operator="not_in"))),
        4: read(filters("AND", cohort(1, operator="not_in"))),
        5: read(filters("OR", plan("pro"), cohort(9, operator="not_in"))),
    }

    assert cohorts_of(criteria, plan="pro") == {5}
    assert CohortMatcher(criteria, LISTED).known == {5, *LISTED}


def test_cohorts_in_a_circle_have_no_members_and_others_keep_theirs() -> None:
    criteria = {
        1: read(filters("AND", cohort(2, negation=True))),
        2: read(filters("AND", cohort(1, negation=True))),
        3: read(filters("OR", plan("pro"), cohort(4))),
        4: read(filters("AND", plan("team"))),
    }

    assert cohorts_of(criteria, plan="team") == {3, 4}


def test_property_cannot_pass_for_membership() -> None:
    criteria = {1: read(filters("AND", cohort(9), plan("pro")))}

    assert cohorts_of(criteria, plan="pro", **{"\0cohort 9": True, "cohort 9": True, "id": 9}) == set()


def test_cohorts_that_refer_to_each_other_many_times_cost_no_more() -> None:
    criteria = {0: read(filters("AND", plan("pro")))}
    for level in range(1, 60):  # without remembering this would take 3 ** 60 steps
        criteria[level] = (
            read(filters("AND", *[cohort(level - 1)] * 3)) if level > 1 else read(filters("AND", plan("pro")))
        )

    assert cohorts_of(criteria, plan="pro") == set(range(60))


@given(
    st.dictionaries(
        st.integers(1, 6),
        st.lists(
            st.tuples(st.integers(1, 8), st.sampled_from(["exact", "in", "is_not", "not_in"]), st.booleans()),
            min_size=1,
            max_size=3,
        ),
    ),
    st.sets(st.integers(7, 8)),
)
def test_membership_is_what_the_criteria_say_of_the_memberships_below(
    references: dict[int, list[tuple[int, str, bool]]], listed_in: set[int]
) -> None:
    downwards = {own: [one for one in others if one[0] > own] for own, others in references.items()}
    criteria = {
        own: read(filters("OR", *(cohort(other, operator=operator, negation=no) for other, operator, no in others)))
        for own, others in downwards.items()
        if others
    }

    found = cohorts_of(criteria, *listed_in)

    assert found - criteria.keys() == listed_in
    known = {7, 8}
    for own in sorted(criteria, reverse=True):
        others = downwards[own]
        known |= {own} if known.issuperset(other for other, _, _ in others) else set()
        assert (own in found) is (
            own in known
            and any(((other in found) is (operator in {"exact", "in"})) is not no for other, operator, no in others)
        )
