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
                "values": [{"type": "AND", "values": []}, {"type": "OR", "values": [{"type": "OR", "values": [7]}]}],
            },
            Conjunction(),
        ),
        ({"type": "OR", "values": None}, Disjunction()),
        (
            {"$browser": "Chrome", "age__gt": 3, "seen__is_set": None, "a__b__c": "x"},
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
        ({"key": "a", "value": 1, "operator": "no such"}, Condition("a", "exact", 1)),
        ({"key": "a", "value": 1, "operator": ["gt"]}, Condition("a", "exact", 1)),
        ({"key": "a", "value": "x", "operator": "is_not_set"}, Condition("a", "is_not_set", "is_not_set")),
        ({"key": "a", "value": 1, "negation": "true"}, Condition("a", "exact", 1, negation=True)),
        ({"key": "a", "value": 1, "negation": "no"}, Condition("a", "exact", 1)),
        ({"key": "a", "value": 1, "type": "group", "group_type_index": 4}, Condition("a", "exact", 1, "group", 4)),
        ({"key": "id", "value": 9, "type": "cohort"}, Condition("id", "exact", 9, "cohort")),
        ({"key": "a", "value": [{"b": [1, "é"]}, None]}, Condition("a", "exact", ('{"b":[1,"é"]}', None))),
        ({"key": "a", "value": []}, Condition("a", "exact", ())),
    ],
)
def test_property_gets_its_defaults(entry: object, condition: Condition) -> None:
    assert parse_filter([entry]) == Conjunction((condition,))


@pytest.mark.parametrize(
    "entry",
    [
        7,
        None,
        "text",
        [],
        {},
        {"value": 1},
        {"key": 5, "value": 1},
        {"key": "a"},
        {"key": "a", "value": None},
        {"key": "a", "operator": "gt"},
        {"key": "a", "value": 1, "type": "behavioral"},
        {"key": "a", "value": 1, "type": ["event"]},
        {"key": "a", "value": 1, "type": "group"},
        {"key": "a", "value": 1, "type": "group", "group_type_index": 5},
        {"key": "a", "value": 1, "type": "group", "group_type_index": True},
        {"key": "a", "value": float("nan")},
        {"key": "a", "value": [float("inf")]},
    ],
)
def test_malformed_entry_of_a_list_is_skipped(entry: object) -> None:
    assert parse_filter([entry, BROWSER]) == Conjunction((CHROME,))
    assert parse_filter({"type": "OR", "values": [entry, BROWSER]}) == Disjunction((CHROME,))


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
        ({"type": "xor", "values": []}, "PropertyGroup is unparsable: 'XOR' is not a valid PropertyOperatorType"),
        ({"type": "AND", "values": "x"}, "PropertyGroup is unparsable: values must be a list, got str"),
        (_nested(20), "PropertyGroup is unparsable: groups nest deeper than 20 levels"),
        ({"age__gt": None}, "Property 'age__gt' needs a value"),
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
