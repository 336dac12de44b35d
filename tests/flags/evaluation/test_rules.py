"""The rules of release conditions, with sent and with stored properties."""

import json
from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.flags.evaluation.rules import EvaluationContext, FlagResult, KnownProperties, evaluate, prepare

COUNTRY: dict[str, Any] = {"key": "country", "value": "NL", "operator": "exact", "type": "person"}
PLAN = {"key": "plan", "value": "paid", "operator": "exact", "type": "person"}
HALVES = {"variants": [{"key": "control", "rollout_percentage": 50}, {"key": "test", "rollout_percentage": 50}]}


def flag(*groups: dict[str, Any], **others: Any) -> Any:
    return prepare(flag_id=1, key="beta-feature", filters={"groups": list(groups), **others})


def subject(
    stored: dict[str, object] | None = None, sent: dict[str, object] | None = None, cohorts: Collection[int] = ()
) -> KnownProperties:
    properties = {key: json.dumps(value).encode() for key, value in {**(stored or {}), **(sent or {})}.items()}
    return KnownProperties(properties, (sent or {}).keys(), stored is not None, cohorts)


def answer(prepared: Any, person: KnownProperties | None = None, distinct_id: str = "example_id") -> FlagResult:
    return evaluate(prepared, EvaluationContext(distinct_id, person or KnownProperties()))


def told(found: FlagResult) -> tuple[bool | str, str, int | None]:
    return found.value, found.reason, found.condition_index


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([], (False, "no_condition_match", None)),
        ([{}], (True, "condition_match", 0)),
        ([{"properties": [], "rollout_percentage": None}], (True, "condition_match", 0)),
        ([{"rollout_percentage": 50}], (True, "condition_match", 0)),  # the hash fraction is 0.209
        ([{"rollout_percentage": 20}], (False, "out_of_rollout_bound", 0)),
        ([{"rollout_percentage": 0}], (False, "out_of_rollout_bound", 0)),
        ([{"rollout_percentage": 20}, {"rollout_percentage": 21}], (True, "condition_match", 1)),
        ([{"properties": [COUNTRY]}], (False, "no_condition_match", 0)),
        ([{"rollout_percentage": 20}, {"properties": [COUNTRY]}], (False, "out_of_rollout_bound", 0)),
        ([{"properties": [COUNTRY]}, {"rollout_percentage": 20}], (False, "out_of_rollout_bound", 1)),
        ([{"rollout_percentage": 20}, {"rollout_percentage": 10}], (False, "out_of_rollout_bound", 1)),
        ([{"properties": [COUNTRY]}, {"properties": [PLAN]}], (False, "no_condition_match", 1)),
    ],
)
def test_first_condition_that_holds_decides_and_else_the_one_that_came_furthest(
    groups: list[dict[str, Any]], expected: tuple[bool | str, str, int | None]
) -> None:
    assert told(answer(flag(*groups))) == expected


def test_conditions_that_name_a_variant_are_tried_first() -> None:
    everyone: dict[str, Any] = {}
    chosen = {"properties": [COUNTRY], "variant": "control"}

    found = answer(flag(everyone, chosen, multivariate=HALVES), subject(sent={"country": "NL"}))

    assert told(found) == ("control", "condition_match", 1)  # the hash alone would give "test"
    assert told(answer(flag(everyone, chosen, multivariate=HALVES))) == ("test", "condition_match", 0)


def test_variant_that_the_flag_does_not_have_is_not_given() -> None:
    assert answer(flag({"variant": "gone"}, multivariate=HALVES)).value == "test"


def test_whom_no_variant_has_gets_the_flag_without_one() -> None:
    few = {"variants": [{"key": "test", "rollout_percentage": 1}]}

    assert told(answer(flag({}, multivariate=few))) == (True, "condition_match", 0)


def test_inactive_flag_is_off_for_everyone() -> None:
    off = prepare(flag_id=1, key="beta-feature", filters={"groups": [{}]}, active=False)

    assert told(answer(off)) == (False, "flag_disabled", None)


def test_filters_of_the_oldest_form_are_one_condition() -> None:
    everyone = prepare(flag_id=1, key="beta-feature", filters={})
    some = prepare(flag_id=1, key="beta-feature", filters={"properties": [COUNTRY]})

    assert answer(everyone).enabled
    assert answer(some, subject(sent={"country": "NL"})).enabled
    assert not answer(some, subject(sent={"country": "DE"})).enabled


@pytest.mark.parametrize(
    ("operator", "person", "expected"),
    [
        ("exact", subject(), False),
        ("exact", subject(sent={"country": "NL"}), True),  # a stranger, but that was all that had to be known
        ("exact", subject(stored={"country": "NL"}), True),
        ("exact", subject(stored={"country": "DE"}, sent={"country": "NL"}), True),
        ("exact", subject(stored={"country": "NL"}, sent={"country": "DE"}), False),
        ("is_not", subject(), False),  # no condition holds for an unknown person
        ("is_not", subject(stored={}), True),
        ("is_not", subject(sent={"country": "DE"}), True),
        ("is_set", subject(), False),
        ("is_set", subject(sent={"country": "NL"}), True),
        ("is_not_set", subject(), False),
        ("is_not_set", subject(stored={}), True),
        ("is_not_set", subject(stored={"country": "NL"}), False),
        ("is_not_set", subject(sent={"city": "Utrecht"}), False),
    ],
)
def test_sent_properties_override_stored_ones(*, operator: str, person: KnownProperties, expected: bool) -> None:
    condition = {**COUNTRY, "operator": operator}

    assert answer(flag({"properties": [condition]}), person).enabled is expected


@pytest.mark.parametrize(
    ("condition", "person", "expected"),
    [
        ({}, subject(stored={}, cohorts=[3]), True),
        ({}, subject(stored={}, cohorts=[4]), False),
        ({}, subject(stored={"$cohort/3": True}), False),
        ({"negation": True}, subject(stored={}, cohorts=[3]), False),
        ({"negation": True}, subject(stored={}, cohorts=[4]), True),
        ({"negation": True}, subject(), True),
        ({}, subject(), False),
        ({"operator": "is_not"}, subject(stored={}, cohorts=[4]), True),
        ({"value": "3"}, subject(stored={}, cohorts=[3]), True),
        ({"value": "three"}, subject(stored={}, cohorts=[3]), False),
    ],
)
def test_person_who_is_not_stored_is_outside_of_cohorts(
    *, condition: dict[str, Any], person: KnownProperties, expected: bool
) -> None:
    cohort = {"key": "id", "type": "cohort", "value": 3, **condition}

    assert answer(flag({"properties": [cohort]}), person).enabled is expected


def test_cohorts_and_properties_must_both_hold() -> None:
    both = flag({"properties": [{"key": "id", "type": "cohort", "value": 3}, COUNTRY]})

    assert answer(both, subject(stored={}, sent={"country": "NL"}, cohorts=[3])).enabled
    assert not answer(both, subject(stored={}, sent={"country": "NL"})).enabled
    assert not answer(both, subject(stored={}, cohorts=[3])).enabled


def test_group_flags_look_at_the_group_and_hash_its_key() -> None:
    condition = {"key": "size", "value": 100, "operator": "gt", "type": "group", "group_type_index": 1}
    of_groups = flag({"properties": [condition], "rollout_percentage": 50}, aggregation_group_type_index=1)

    def at(key: str, size: int) -> FlagResult:
        return evaluate(of_groups, EvaluationContext("anybody", groups={1: (key, subject(sent={"size": size}))}))

    assert told(at("4", 200)) == (True, "condition_match", 0)
    assert told(at("1", 200)) == (False, "out_of_rollout_bound", 0)
    assert told(at("4", 20)) == (False, "no_condition_match", 0)
    assert told(answer(of_groups)) == (False, "no_group_type", None)


def test_person_goes_on_with_the_identifier_that_a_flag_keeps_for_him() -> None:
    half = flag({"rollout_percentage": 50})

    assert not answer(half, distinct_id="another_id").enabled
    assert evaluate(half, EvaluationContext("another_id", hash_keys={"beta-feature": "example_id"})).enabled
    assert not evaluate(half, EvaluationContext("another_id", hash_keys={"other": "example_id"})).enabled


@pytest.mark.parametrize(
    "condition",
    [
        {**COUNTRY, "operator": "regex", "value": "("},
        {**COUNTRY, "operator": "not_regex", "value": "("},
        {**COUNTRY, "type": "element"},
        {**COUNTRY, "value": None},
        "country",
        None,
    ],
)
def test_unparsable_condition_matches_no_one(condition: object) -> None:
    assert not answer(flag({"properties": [condition, COUNTRY]}), subject(stored={}, sent={"country": "NL"})).enabled


def test_payloads_go_with_the_variant_and_only_while_the_flag_is_on() -> None:
    payloads = {"test": '{"color": "green"}', "true": {"color": "blue"}, "control": "[]"}

    assert answer(flag({}, multivariate=HALVES, payloads=payloads)).payload == '{"color": "green"}'
    assert answer(flag({}, payloads=payloads)).payload == '{"color": "blue"}'
    assert answer(flag({"rollout_percentage": 0}, payloads=payloads)).payload is None
    assert answer(flag({})).payload is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=10,
)
members = [
    "properties", "rollout_percentage", "variant", "key", "value", "operator", "type", "group_type_index",
    "variants", "groups", "multivariate", "payloads", "aggregation_group_type_index", "negation",
]  # fmt: skip
documents = st.recursive(
    json_values | st.sampled_from(["person", "cohort", "group", "regex", "exact", "gt", "is_not_set", "control"]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.sampled_from(members), values, max_size=5),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(members), documents), st.dictionaries(st.text(max_size=5), json_values))
def test_random_filters_and_properties_are_evaluated(filters: dict[str, Any], sent: dict[str, object]) -> None:
    prepared = prepare(flag_id=1, key="beta-feature", filters=filters)

    found = answer(prepared, subject(sent=sent))

    assert found.enabled or found.value is False


@given(
    st.text(),
    st.dictionaries(st.sampled_from(["country", "plan"]), st.sampled_from(["NL", "DE", "paid"])),
    st.dictionaries(st.text(max_size=3), json_values, max_size=3),
)
def test_answer_depends_on_nothing_but_key_identifier_and_the_properties_it_looks_at(
    distinct_id: str, sent: dict[str, object], others: dict[str, object]
) -> None:
    groups = [{"properties": [COUNTRY], "rollout_percentage": 60}, {"properties": [PLAN], "rollout_percentage": 30}]
    filters: dict[str, Any] = {"payloads": {"test": "1"}, "multivariate": HALVES, "groups": groups}
    another = prepare(flag_id=9, key="beta-feature", filters=filters, has_experiment=True)

    found = answer(flag(*groups, multivariate=HALVES), subject(sent=sent), distinct_id)

    assert told(answer(another, subject(sent={**others, **sent}), distinct_id)) == told(found)
