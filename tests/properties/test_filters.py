import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.properties.filters import (
    Condition,
    Conjunction,
    Disjunction,
    InvalidFilter,
    Json,
    Node,
    canonical,
    parse_filter,
)
from app.properties.operators import operators_of

PROPERTY_OPERATORS = ", ".join(operators_of("event"))
BROWSER = {"key": "$browser", "value": "Chrome"}
EMAIL = {"key": "email", "value": ["a@b.c", 2, True], "operator": "is_not", "type": "person"}
CHROME = Condition("$browser", "exact", "Chrome")
WITHOUT_EMAIL = Condition("email", "is_not", ("a@b.c", 2, True), "person")

NODES = st.recursive(
    st.builds(
        Condition,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["exact", "is_not"]),
        st.sampled_from([1, True, "x", ("x", "y"), ()]),
        st.sampled_from(["event", "person"]),
    ),
    lambda nodes: (
        st.builds(Conjunction, st.lists(nodes, min_size=1, max_size=3).map(tuple))
        | st.builds(Disjunction, st.lists(nodes, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("value", "tree"),
    [
        (None, Conjunction()),
        ([], Conjunction()),
        ({}, Conjunction()),
        ("null", Conjunction()),
        ([BROWSER, EMAIL], Conjunction((CHROME, WITHOUT_EMAIL))),
        (json.dumps([BROWSER, EMAIL]), Conjunction((CHROME, WITHOUT_EMAIL))),
        ({"type": "AND", "values": [BROWSER]}, Conjunction((CHROME,))),
        ({"type": "or", "values": [BROWSER, EMAIL]}, Disjunction((CHROME, WITHOUT_EMAIL))),
        (
            {"type": "OR", "values": [{"type": "AND", "values": [BROWSER]}, {"type": "OR", "values": [EMAIL]}]},
            Disjunction((Conjunction((CHROME,)), Disjunction((WITHOUT_EMAIL,)))),
        ),
        (
            {
                "type": "AND",
                "values": [{"type": "AND", "values": []}, {"type": "OR", "values": [{"type": "OR", "values": []}]}],
            },
            Conjunction(),
        ),
        ({"type": "OR", "values": None}, Disjunction()),
        (
            {"$browser": "Chrome", "age__gt": 3, "seen__is_set": None, "a__exact__c": "x"},
            Conjunction(
                (CHROME, Condition("age", "gt", 3), Condition("seen", "is_set", "is_set"), Condition("a", "exact", "x"))
            ),
        ),
    ],
)
def test_every_form_of_a_filter_is_parsed(value: object, tree: Node) -> None:
    assert parse_filter(value) == tree


@pytest.mark.parametrize(
    ("entry", "condition"),
    [
        ({"key": "a", "value": 1, "label": "ignored", "type": None}, Condition("a", "exact", 1)),
        ({"key": "id", "value": 9, "type": "cohort", "operator": "not_in"}, Condition("id", "not_in", 9, "cohort")),
        ({"key": "a", "value": [1, 2.5], "operator": "between"}, Condition("a", "between", (1, 2.5))),
        ({"key": "a", "value": "x", "operator": "is_not_set"}, Condition("a", "is_not_set", "is_not_set")),
        ({"key": "a", "value": 1, "negation": "true"}, Condition("a", "exact", 1, negation=True)),
        ({"key": "a", "value": 1, "negation": "no"}, Condition("a", "exact", 1)),
        ({"key": "a", "value": 1, "type": "group", "group_type_index": 4}, Condition("a", "exact", 1, "group", 4)),
        ({"key": "id", "value": 9, "type": "cohort"}, Condition("id", "exact", 9, "cohort")),
        ({"key": "a", "value": [{"c": 2.0, "b": [1, "é"]}]}, Condition("a", "exact", ('{"b":[1,"é"],"c":2}',))),
        ({"key": "a", "value": []}, Condition("a", "exact", ())),
    ],
)
def test_property_gets_its_defaults(entry: object, condition: Condition) -> None:
    assert parse_filter([entry]) == Conjunction((condition,))


@pytest.mark.parametrize(
    ("entry", "detail"),
    [
        (7, "A property is an object, got 7"),
        (None, "A property is an object, got null"),
        ([], "A property is an object, got []"),
        ({}, "A property needs a key, a text: {}"),
        ({"value": 1}, 'A property needs a key, a text: {"value": 1}'),
        ({"key": 5, "value": 1}, 'A property needs a key, a text: {"key": 5, "value": 1}'),
        ({"key": "a"}, "The operator 'exact' needs a value, got null"),
        ({"key": "a", "value": None}, "The operator 'exact' needs a value, got null"),
        ({"key": "a", "value": ["x", None]}, "The operator 'exact' needs a value, got null"),
        ({"key": "a", "operator": "gt"}, "The operator 'gt' needs a value, got null"),
        (
            {"key": "a", "value": 1, "type": "behavioral"},
            'the type "behavioral" is not known; known are event, person, group, cohort, static-cohort, '
            "precalculated-cohort, element, session",
        ),
        ({"key": "a", "value": 1, "type": ["event"]}, 'the type ["event"] is not known; known are '),
        ({"key": "a", "value": 1, "type": "hogql"}, 'the type "hogql" is not known; known are event'),
        (
            {"key": "1", "value": True, "type": "flag"},
            'the type "flag" can only be used in release conditions of flags; known are event, person',
        ),
        (
            {"key": "a", "value": 1, "operator": "like"},
            'the operator "like" is not known; known are exact, is_not, icontains, not_icontains,',
        ),
        ({"key": "a", "value": 1, "operator": ["gt"]}, 'the operator ["gt"] is not known; known are '),
        (
            {"key": "a", "value": 1, "operator": "not_in"},
            "the operator \"not_in\" is not available for the type 'event'; known are exact, is_not,",
        ),
        (
            {"key": "id", "value": 1, "type": "cohort", "operator": "gt"},
            "the operator \"gt\" is not available for the type 'cohort'; known are exact, in, is_not, not_in",
        ),
        (
            {"key": "a", "value": 1, "type": "group"},
            "group_type_index must be an integer from 0 to 4, got",
        ),
        ({"key": "a", "value": 1, "type": "group", "group_type_index": 5}, "group_type_index must be an"),
        ({"key": "a", "value": 1, "type": "group", "group_type_index": True}, "group_type_index must be"),
        (
            {"key": "a", "value": 1, "negation": "perhaps"},
            'negation must be true or false, got "perhaps"',
        ),
        ({"key": "a", "value": float("nan")}, "the value is not JSON"),
        ({"key": "a", "value": [float("inf")]}, "the value is not JSON"),
        (
            {"key": "a", "value": [1, 2], "operator": "gt"},
            "The operator 'gt' takes a number or a text, got",
        ),
        (
            {"key": "a", "value": True, "operator": "lt"},
            "The operator 'lt' takes a number or a text, got",
        ),
        (
            {"key": "a", "value": 10**400, "operator": "lt"},
            "The operator 'lt' takes a number or a text, got",
        ),
        (
            {"key": "a", "value": 5, "operator": "between"},
            "The operator 'between' takes a list of two numb",
        ),
        (
            {"key": "a", "value": [1], "operator": "between"},
            "The operator 'between' takes a list of two nu",
        ),
        (
            {"key": "a", "value": [2, 1], "operator": "between"},
            "The operator 'between' takes a list of two",
        ),
        (
            {"key": "a", "value": ["x", 1], "operator": "not_between"},
            "The operator 'not_between' takes a ",
        ),
        (
            {"key": "a", "value": "soon", "operator": "is_date_before"},
            "The operator 'is_date_before' takes a date: '2022-11-05', '2022-11-05T10:30:00Z', or relative",
        ),
        (
            {"key": "a", "value": "-7q", "operator": "is_date_after"},
            "The operator 'is_date_after' takes a ",
        ),
        (
            {"key": "a", "value": "-7", "operator": "is_date_after"},
            "The operator 'is_date_after' takes a d",
        ),
        (
            {"key": "a", "value": "2022-02-30", "operator": "is_date_exact"},
            "The operator 'is_date_exact' t",
        ),
        (
            {"key": "a", "value": ["2022-02-03"], "operator": "is_date_exact"},
            "The operator 'is_date_exact'",
        ),
        (
            {"key": "a", "value": "latest", "operator": "semver_gt"},
            "The operator 'semver_gt' takes a versi",
        ),
        (
            {"key": "a", "value": "*", "operator": "semver_wildcard"},
            "The operator 'semver_wildcard' takes",
        ),
        (
            {"key": "a", "value": True, "operator": "regex"},
            "The operator 'regex' takes a regular expressio",
        ),
    ],
)
def test_condition_that_is_not_understood_is_refused_and_named(entry: object, detail: str) -> None:
    for document in ([BROWSER, entry], {"type": "OR", "values": [entry, BROWSER]}):
        with pytest.raises(InvalidFilter) as refusal:
            parse_filter(document)
        assert detail in refusal.value.detail


def _nested(depth: int) -> object:
    return {"type": "AND", "values": [_nested(depth - 1)] if depth else [BROWSER]}


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ("", "Properties are unparsable!"),
        ("{", "Properties are unparsable!"),
        ("7", "Properties are unparsable!"),
        ("[NaN]", "Properties are unparsable!"),
        ("[" * 100_000, "Properties are unparsable!"),
        (True, "Properties are unparsable!"),
        (
            {"type": "AND", "values": [BROWSER, {"type": "OR", "values": []}]},
            "Property list cannot contain both PropertyGroup and Property objects",
        ),
        ({"key": "plan", "value": "pro"}, 'A property stands in a list: [{"key": ..., "value": ...}]'),
        ({"key": "plan", "operator": "is_set"}, 'A property stands in a list: [{"key": ..., "value": ...}]'),
        ({"key": "plan", "type": "person"}, 'A property stands in a list: [{"key": ..., "value": ...}]'),
        ({"type": "xor", "values": []}, "PropertyGroup is unparsable: 'XOR' is not a valid PropertyOperatorType"),
        ({"type": "AND", "values": "x"}, "PropertyGroup is unparsable: values must be a list, got str"),
        (_nested(20), "PropertyGroup is unparsable: groups nest deeper than 20 levels"),
        ({"age__gt": None}, "Property 'age__gt' needs a value"),
        ({"age__over": 3}, f"Property 'age': the operator \"over\" is not known; known are {PROPERTY_OPERATORS}"),
        ([{"type": "OR", "values": []}], 'A property needs a key, a text: {"type": "OR", "values": []}'),
    ],
)
def test_invalid_filter_is_refused_with_a_reason(value: object, detail: str) -> None:
    with pytest.raises(InvalidFilter) as refusal:
        parse_filter(value)

    assert refusal.value.detail == detail


def test_json_of_a_filter_is_what_clients_send() -> None:
    body: Json = {
        "type": "OR",
        "values": [
            {"key": "email", "operator": "is_not", "type": "person", "value": ["a@b.c", 2, True], "negation": True},
            {"key": "plan", "operator": "exact", "type": "group", "value": None, "group_type_index": 0},
        ],
    }
    body_with_values: Json = json.loads(json.dumps(body).replace("null", '"paid"'))

    assert parse_filter(body_with_values).to_json() == body_with_values


@given(NODES)
def test_reading_the_json_of_a_tree_gives_the_tree_back(tree: Node) -> None:
    group = Conjunction((tree,))

    if not isinstance(tree, Condition) and _mixes_kinds(tree):
        with pytest.raises(InvalidFilter, match="both PropertyGroup and Property"):
            parse_filter(group.to_json())
    else:
        assert parse_filter(json.dumps(group.to_json())) == group


def _mixes_kinds(group: Conjunction | Disjunction) -> bool:
    kinds = {isinstance(child, Condition) for child in group.children}
    return len(kinds) > 1 or any(_mixes_kinds(child) for child in group.children if not isinstance(child, Condition))


def test_values_that_are_equal_in_python_make_different_conditions() -> None:
    conditions = {Condition("a", "exact", 1), Condition("a", "exact", value=True), Condition("a", "exact", "1")}

    assert len(conditions) == 3
    assert Condition("a", "exact", ("x",)) == Condition("a", "exact", ("x",))


def test_value_that_json_does_not_support_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Condition("a", "exact", float("nan"))


def test_canonical_text_ignores_order_repetition_and_needless_groups() -> None:
    a, b, c = (Condition(key, "exact", 1) for key in "abc")

    same: list[Node] = [
        Conjunction((a, b, c)),
        Conjunction((c, Conjunction((b, a)), a)),
        Disjunction((Conjunction((Disjunction((Disjunction((a, a)), a)), Disjunction((Conjunction((b, c)),)))),)),
    ]
    assert len({canonical(tree) for tree in same}) == 1
    assert canonical(Disjunction((a, b))) != canonical(Conjunction((a, b)))
    assert canonical(Disjunction()) == canonical(Conjunction())
    assert canonical(Conjunction((a,))) == canonical(a)
