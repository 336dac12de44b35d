"""JSON as text: extending an object without parsing it, and texts that every database stores."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common.json_text import append_members, storable_text, write_json

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)
OBJECTS = st.dictionaries(st.text(), JSON_VALUES)


@given(OBJECTS, OBJECTS, st.sampled_from([None, 1]), st.sampled_from(["", " ", "\n"]))
def test_appended_members_override_those_of_the_object(
    document: dict[str, object], added: dict[str, object], indent: int | None, end: str
) -> None:
    text = json.dumps(document, indent=indent) + end

    assert json.loads(append_members(text, write_json(added)[1:-1])) == {**document, **added}


@pytest.mark.parametrize(("document", "expected"), [("{ }", '{"b":2}'), ('{"a": "{"} ', '{"a": "{","b":2}')])
def test_appended_members_leave_the_rest_of_the_text_unchanged(document: str, expected: str) -> None:
    assert append_members(document, '"b":2') == expected


@pytest.mark.parametrize(
    ("value", "text"), [("ä", "ä"), ("a\0b", "a\ufffdb"), (3, "3"), ({"ä": [1, None]}, '{"ä": [1, null]}')]
)
def test_storable_text_is_the_text_itself_or_json_without_nul(value: object, text: str) -> None:
    assert storable_text(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_write_json_refuses_numbers_that_json_lacks(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json([value])
