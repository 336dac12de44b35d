"""Conditions on the elements of autocaptured events."""

import json

import pytest

from app.properties.elements import chain_of
from app.properties.filters import InvalidFilter, parse_filter
from app.properties.matcher import compile_filter

# <div class="menu top"><ul><li nth-child=2><a id="home" href="/home" class="small link">Say "hi"</a></li></ul></div>
CHAIN = (
    'a.link.small:attr__href="/home"attr__id="home"attr_id="home"href="/home"nth-child="1"nth-of-type="1"'
    'text="Say \\"hi\\"";li:nth-child="2"nth-of-type="2";ul:nth-child="1"nth-of-type="1";'
    'div.menu.top:attr__data-x="1"nth-child="3"nth-of-type="1"'
)
YES, NO = True, False


@pytest.mark.parametrize(
    ("key", "operator", "value", "expected"),
    [
        ("tag_name", "exact", "a", YES),
        ("tag_name", "exact", ["b", "div"], YES),
        ("tag_name", "exact", "me", NO),
        ("tag_name", "is_not", "b", YES),
        ("tag_name", "is_not", ["b", "ul"], NO),
        ("tag_name", "exact", [], NO),
        ("tag_name", "is_not", [], YES),
        ("href", "exact", "/home", YES),
        ("href", "exact", "/hom", NO),
        ("href", "icontains", "HOM", YES),
        ("href", "not_icontains", "HOM", NO),
        ("href", "regex", "/h.*e", YES),
        ("href", "not_regex", "/x.*", YES),
        ("href", "is_set", None, YES),
        ("text", "exact", 'Say "hi"', YES),
        ("text", "is_not", 'Say "hi"', NO),
        ("text", "icontains", "say", YES),
        ("selector", "exact", "a", YES),
        ("selector", "exact", "li a", YES),
        ("selector", "exact", "li > a", YES),
        ("selector", "exact", "ul > a", NO),
        ("selector", "exact", "ul a", YES),
        ("selector", "exact", "div.menu.top > ul > li > a.small.link", YES),
        ("selector", "exact", "div.top.menu a", YES),
        ("selector", "exact", "div.bottom a", NO),
        ("selector", "exact", ".menu a", YES),
        ("selector", "exact", '[id="home"]', YES),
        ("selector", "exact", '[id="away"]', NO),
        ("selector", "exact", 'div[data-x="1"] > ul', YES),
        ("selector", "exact", "li:nth-child(2) > a", YES),
        ("selector", "exact", "li:nth-child(3) > a", NO),
        ("selector", "exact", "* > a", YES),
        ("selector", "exact", ["b", "a"], YES),
        ("selector", "is_not", "b", YES),
        ("selector", "is_not", "a", NO),
    ],
)
def test_condition_on_elements_reads_the_chain(key: str, operator: str, value: object, expected: bool) -> None:
    condition = {"key": key, "operator": operator, "value": value, "type": "element"}
    matcher = compile_filter(parse_filter([condition]))

    assert matcher.matches({"$elements_chain": json.dumps(CHAIN).encode()}) is expected


def test_list_of_elements_is_read_like_the_chain_it_makes() -> None:
    elements = [
        {
            "tag_name": "a",
            "$el_text": 'Say "hi"',
            "attr__class": "small link",
            "attr__href": "/home",
            "attr__id": "home",
            "nth_child": 1,
            "nth_of_type": 1,
        },
        {"tag_name": "li", "nth_child": 2, "nth_of_type": 2},
        {"tag_name": "ul", "nth_child": 1, "nth_of_type": 1},
        {"tag_name": "div", "attr__class": ["top", "menu"], "attr__data-x": "1", "nth_child": 3, "nth_of_type": 1},
    ]

    made = chain_of({"$elements": json.dumps(elements).encode()})

    assert made.replace('attr__class="small link"', "").replace('attr__class="[\\"top\\",\\"menu\\"]"', "") == CHAIN


@pytest.mark.parametrize(
    "token", [b"null", b"1", b'"a"', b"[1, null]", b'[{"tag_name": 3, "attr__class": [null]}]', b"{"]
)
def test_malformed_elements_are_ignored(token: bytes) -> None:
    matcher = compile_filter(parse_filter([{"key": "tag_name", "value": "a", "type": "element"}]))

    assert not matcher.matches({"$elements": token})


@pytest.mark.parametrize(("key", "operator"), [("selector", "icontains"), ("tag_name", "regex"), ("color", "exact")])
def test_unsupported_conditions_on_elements_are_refused(key: str, operator: str) -> None:
    with pytest.raises(InvalidFilter):
        compile_filter(parse_filter([{"key": key, "operator": operator, "value": "x", "type": "element"}]))
