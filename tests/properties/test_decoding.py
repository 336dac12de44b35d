import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.properties.decoding import PropertyReader, UnreadablePropertiesError
from tests.properties.test_text import JSON_VALUES

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.dictionaries(KEYS, JSON_VALUES, max_size=6), st.sets(KEYS, max_size=3), st.data())
def test_reader_agrees_with_a_full_parse(document: dict[str, object], strangers: set[str], data: st.DataObject) -> None:
    present = data.draw(st.sets(st.sampled_from(sorted(document)))) if document else set()
    ascii_only = data.draw(st.booleans())
    text = json.dumps(document, ensure_ascii=ascii_only)
    keys = present | strangers

    for form in (text, text.encode()):
        tokens = PropertyReader(keys).read(form)
        assert {key: json.loads(token) for key, token in tokens.items()} == {
            key: document[key] for key in keys if key in document
        }


@pytest.mark.parametrize(
    "key", ["$feature/x", "a.b", "a b", "", "'", '"', "\\", "\n", "\0", "é", "日本", "😀", "__proto__"]
)
def test_key_may_be_any_text(key: str) -> None:
    document = {key: 1, "other": 2}

    assert PropertyReader([key, "missing"]).read(json.dumps(document)) == {key: b"1"}
    assert PropertyReader([key]).read(json.dumps(document, ensure_ascii=False)) == {key: b"1"}


def test_key_with_a_lone_surrogate_is_never_found() -> None:
    assert PropertyReader(["\ud800", "a"]).read(b'{"a":1}') == {"a": b"1"}


@pytest.mark.parametrize("keys", [["a"], ["a", '"']], ids=["struct", "fallback"])
def test_last_of_repeated_keys_counts_however_it_is_spelled(keys: list[str]) -> None:
    assert PropertyReader(keys).read(rb'{"a": 1, "\u0061": [2, 3]}') == {"a": b"[2, 3]"}


@pytest.mark.parametrize("keys", [[], ["a"], ["b", '"']], ids=["no key", "struct", "fallback"])
@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"null",
        b'{"a":1',
        b'{"a":1} x',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        rb'{"a":"\ud800"}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        '{"a":"\ud800"}',
    ],
    ids=lambda document: str(document[:12]),
)
def test_document_that_is_not_a_json_object_is_refused(keys: list[str], document: bytes | str) -> None:
    with pytest.raises(UnreadablePropertiesError, match="properties cannot be read"):
        PropertyReader(keys).read(document)
