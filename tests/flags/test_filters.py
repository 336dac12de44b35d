"""The rules of `filters` in the flag API: fields that evaluation or results read are validated, others are stored."""

from collections.abc import Mapping
from json import dumps as json_text

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.flags.filters import (
    JsonDict,
    cohorts_of,
    is_simple,
    simple_rollout_percentage,
    validate_filters,
    validate_split,
    variant_keys,
    with_groups,
)
from app.properties.operators import operators_of
from tests.experiments.test_creating import COUNTRY, GROUP, GROUPS_ONLY, PERSONS_ONLY

COHORT = {"key": "id", "value": 5, "type": "cohort"}
HALVES = {"variants": [{"key": "control", "rollout_percentage": 50}, {"key": "test", "rollout_percentage": 50}]}
EVERYBODY: JsonDict = {"properties": [], "rollout_percentage": None}


def variants(*changes: Mapping[str, JsonValue]) -> JsonDict:
    return {
        "groups": [],
        "multivariate": {"variants": [{"key": "a", "rollout_percentage": 1, **one} for one in changes]},
    }


@pytest.mark.parametrize(
    "filters",
    [
        {"groups": []},
        {"groups": [{}]},
        {"groups": [EVERYBODY, {"properties": None, "rollout_percentage": 12.5, "mine": [1, {"a": None}]}]},
        {"groups": [{"properties": [COUNTRY, COHORT], "rollout_percentage": 0}], "mine": "kept"},
        {"groups": [{"properties": [{"key": "email", "operator": "is_set", "type": "person"}]}]},
        {"groups": [{"properties": [GROUP]}], "aggregation_group_type_index": 0},
        {"groups": [{"variant": "test"}, {"variant": None}, {"variant": ""}], "multivariate": HALVES},
        {"groups": [], "multivariate": None, "payloads": None, "aggregation_group_type_index": None},
        {"groups": [], "multivariate": {}, "payloads": {"true": 5, "test": '{"color": "green"}', "unknown": [None]}},
        {"groups": [], "multivariate": {"variants": None}},
        variants({"key": " odd ", "rollout_percentage": 0, "name": 5}, {"key": "b", "rollout_percentage": 100.0}),
        variants(*({"key": str(number)} for number in range(20))),
    ],
)
def test_filters_of_the_known_shape_pass(filters: JsonDict) -> None:
    validate_filters(filters)


PERCENTAGE = "Filters are not valid (rollout_percentage must be a number from 0 to 100)"
SHARE = "Filters are not valid (variants must have a rollout_percentage from 0 to 100)"
KEY = "Filters are not valid (variants must have a key)"
NO_OVERRIDE = "Filters are not valid (variant override does not exist)"


def must_be(what: str) -> str:
    return f"Filters are not valid ({what})"


NO_KEY = must_be('A property needs a key, a text: {"value": "NL", "type": "person"}')
OTHER_KEY = must_be(f"A property needs a key, a text: {json_text({**COUNTRY, 'key': 5})}")
NO_VALUE = must_be(f"Property 'country': The operator {COUNTRY['operator']!r} needs a value, got null")
UNKNOWN_OPERATOR = must_be(
    f"Property 'country': the operator \"like\" is not known; known are {', '.join(operators_of('person'))}"
)
NO_RANGE = must_be("Property 'country': The operator 'between' takes a list of two numbers, the lower one first, got 5")
EMPTY_LIST = must_be(f"the operator {COUNTRY['operator']!r} needs a value in flags, got an empty list")
LIST_OF_PATTERNS = must_be("the operator 'regex' takes one text in flags, not a list")
NO_OPPOSITE = must_be("the operator 'gt' cannot be negated in flags: use another operator")


@pytest.mark.parametrize(
    ("filters", "detail"),
    [
        ({"groups": None}, must_be("groups must be a list of objects")),
        ({"groups": {}}, must_be("groups must be a list of objects")),
        ({"groups": [EVERYBODY, "all"]}, must_be("groups must be a list of objects")),
        ({"groups": [{"properties": {"country": "NL"}}]}, must_be("properties must be a list of objects")),
        ({"groups": [{"properties": ""}]}, must_be("properties must be a list of objects")),
        ({"groups": [{"properties": [COUNTRY, None]}]}, must_be("properties must be a list of objects")),
        ({"groups": [{"properties": [{**COUNTRY, "type": "event"}]}]}, PERSONS_ONLY),
        ({"groups": [{"properties": [{"key": "country", "value": "NL"}]}]}, PERSONS_ONLY),
        ({"groups": [EVERYBODY, {"properties": [GROUP]}]}, PERSONS_ONLY),
        ({"groups": [{"properties": [COUNTRY]}], "aggregation_group_type_index": 0}, GROUPS_ONLY),
        ({"groups": [{"properties": [GROUP]}], "aggregation_group_type_index": 1}, GROUPS_ONLY),
        ({"groups": [{"properties": [{"value": "NL", "type": "person"}]}]}, NO_KEY),
        ({"groups": [{"properties": [{**COUNTRY, "key": 5}]}]}, OTHER_KEY),
        ({"groups": [{"properties": [{**COUNTRY, "value": None}]}]}, NO_VALUE),
        ({"groups": [{"properties": [{**COUNTRY, "operator": "like"}]}]}, UNKNOWN_OPERATOR),
        ({"groups": [{"properties": [{**COUNTRY, "operator": "between", "value": 5}]}]}, NO_RANGE),
        ({"groups": [{"properties": [{**COUNTRY, "value": []}]}]}, EMPTY_LIST),
        ({"groups": [{"properties": [{**COUNTRY, "operator": "regex", "value": ["a"]}]}]}, LIST_OF_PATTERNS),
        ({"groups": [{"properties": [{**COUNTRY, "operator": "gt", "value": 5, "negation": True}]}]}, NO_OPPOSITE),
        ({"groups": [{"rollout_percentage": 100.1}]}, PERCENTAGE),
        ({"groups": [{"rollout_percentage": -1}]}, PERCENTAGE),
        ({"groups": [{"rollout_percentage": "50"}]}, PERCENTAGE),
        ({"groups": [{"rollout_percentage": True}]}, PERCENTAGE),
        ({"groups": [{"rollout_percentage": 10**4000}]}, PERCENTAGE),
        ({"groups": [{"variant": "blue"}], "multivariate": HALVES}, NO_OVERRIDE),
        ({"groups": [{"variant": "test"}]}, NO_OVERRIDE),
        ({"groups": [{"variant": ["test"]}], "multivariate": HALVES}, NO_OVERRIDE),
        (
            {"groups": [], "aggregation_group_type_index": "0"},
            must_be("aggregation_group_type_index must be an integer"),
        ),
        (
            {"groups": [], "aggregation_group_type_index": True},
            must_be("aggregation_group_type_index must be an integer"),
        ),
        ({"groups": [], "payloads": []}, must_be("payloads must be an object")),
        ({"groups": [], "payloads": "{}"}, must_be("payloads must be an object")),
        ({"groups": [], "multivariate": []}, must_be("multivariate must be an object")),
        ({"groups": [], "multivariate": "a/b"}, must_be("multivariate must be an object")),
        ({"groups": [], "multivariate": {"variants": "a/b"}}, must_be("variants must be a list of objects")),
        ({"groups": [], "multivariate": {"variants": False}}, must_be("variants must be a list of objects")),
        ({"groups": [], "multivariate": {"variants": ["a"]}}, must_be("variants must be a list of objects")),
        ({"groups": [], "multivariate": {"variants": [{"rollout_percentage": 1}]}}, KEY),
        (variants({"key": 5}), KEY),
        (variants({"key": " "}), KEY),
        ({"groups": [], "multivariate": {"variants": [{"key": "a"}]}}, SHARE),
        (variants({"rollout_percentage": None}), SHARE),
        (variants({"rollout_percentage": "50"}), SHARE),
        (variants({"rollout_percentage": False}), SHARE),
        (variants({"rollout_percentage": 101}), SHARE),
        (variants({"rollout_percentage": -0.5}), SHARE),
        (variants({}, {}), must_be("variants must have different keys")),
        (variants(*({"key": str(number)} for number in range(21))), must_be("at most 20 variants")),
    ],
)
def test_filters_that_evaluation_could_not_use_are_refused(filters: JsonDict, detail: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        validate_filters(filters)

    assert (refused.value.code, refused.value.detail, refused.value.attr) == ("invalid_input", detail, "filters")


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "test", "person"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "groups",
                    "properties",
                    "rollout_percentage",
                    "variant",
                    "variants",
                    "key",
                    "value",
                    "type",
                    "multivariate",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(
    filters=st.fixed_dictionaries({}, optional={"groups": json, "multivariate": json, "payloads": json, "more": json})
)
def test_whatever_filters_hold_they_are_refused_or_can_be_read(filters: JsonDict) -> None:
    try:
        validate_filters(with_groups(filters))
        validate_split(filters)
    except ValidationFailed:
        return
    assert all(variant_keys(filters))
    assert simple_rollout_percentage(filters) is None or is_simple(filters)
    cohorts_of(filters)


@pytest.mark.parametrize(
    ("filters", "simple", "rollout"),
    [
        ({"groups": [EVERYBODY]}, True, None),
        ({"groups": [{}]}, True, None),
        ({"groups": [{"properties": None, "rollout_percentage": 12.5}]}, True, 12.5),
        ({"groups": [{"properties": [], "rollout_percentage": 50}], "multivariate": HALVES}, True, 50),
        ({"groups": [{"properties": [COUNTRY], "rollout_percentage": 50}]}, False, None),
        ({"groups": [{"rollout_percentage": 50}], "aggregation_group_type_index": 0}, False, None),
        ({"groups": [{"rollout_percentage": 50}], "aggregation_group_type_index": None}, True, 50),
        ({"groups": [EVERYBODY, {"rollout_percentage": 50}]}, False, None),
        ({"groups": []}, False, None),
    ],
)
def test_flag_is_simple_when_one_percentage_of_all_persons_says_it_all(
    filters: JsonDict, *, simple: bool, rollout: float | None
) -> None:
    assert (is_simple(filters), simple_rollout_percentage(filters)) == (simple, rollout)


@pytest.mark.parametrize(
    ("filters", "groups"),
    [
        ({}, [EVERYBODY]),
        ({"properties": [COUNTRY]}, [{"properties": [COUNTRY], "rollout_percentage": None}]),
        ({"properties": None}, [EVERYBODY]),
        ({"groups": []}, []),
    ],
)
def test_filters_without_groups_get_the_one_they_mean(filters: JsonDict, groups: object) -> None:
    assert with_groups(filters) == {**filters, "groups": groups}
