"""Texts beyond JSON, rewritten instead of parsed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common import json_repair, lenient_json, limits
from app.common.errors import PayloadTooLarge
from app.common.json_repair import WINDOW_BYTES, repair

SMALL_WINDOW = 24
STRINGS = [
    *(b'""', b'"NaN"', b'"-Infinity"', b'"a\\"NaN"', b'"\\\\"', b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\ude00\\ud83d"'),
    *(b'"\\\\ud800"', b'"\\\\\\ud800"', b'"\\ud83d\\ud83d\\ude00"', b'"\xed\xa0\xbd\xed\xb8\x80"'),
    *(b'"\xed\xa0\xbd"', b'"\xff"', b'"\xe2\x82"', '"é😀"'.encode(), b'"' + b"x" * 40 + b'\\ud800"'),
]
NUMBERS = [
    *(b"0", b"-1", b"1e5", b"1E+0099", b"0.5e-999", b"1e400", b"-1e0400", b"1.9e308", b"9" * 400 + b".5"),
    *(b"1" * 1000, b"1" * 1001, b"-" + b"1" * 999, b"-" + b"1" * 1000),
]
BROKEN = [b'"\\uD8zz"', b"-", b"N", b"-NaN", b"1NaN", b"NaN1", b"1.", b"01", b"\\", b'"', b'"\x01"', b"[", b"}"]
atoms = st.sampled_from([b"NaN", b"Infinity", b"-Infinity", b"null", b"true", *STRINGS, *NUMBERS])


def as_object(members: list[tuple[bytes, bytes]]) -> bytes:
    # Keys differ also after repair: of equal ones the last one counts, which parsing finds before and after it.
    return b"{" + b",".join(b'"%d%s:%s' % (n, key[1:], value) for n, (key, value) in enumerate(members)) + b"}"


documents = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=5).map(lambda items: b"[" + b" , ".join(items) + b"]")
        | st.lists(st.tuples(st.sampled_from(STRINGS), inner), max_size=5).map(as_object)
    ),
    max_leaves=12,
)


def parsed(text: bytes) -> Any:
    try:
        return lenient_json.load(lenient_json.read_text(text))
    except ValueError:
        return ValueError


@given(documents, st.sampled_from([SMALL_WINDOW, 37, WINDOW_BYTES]))
def test_repaired_text_means_the_same_as_the_text_parsed_leniently(text: bytes, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_repair, "WINDOW_BYTES", window)
        repaired = json.loads(repair(text))

    assert repr(repaired) == repr(parsed(text))


@given(documents, st.sampled_from(BROKEN), st.integers(min_value=0))
def test_text_that_is_not_json_stays_invalid(text: bytes, broken: bytes, place: int) -> None:
    cut = place % (len(text) + 1)
    text = text[:cut] + broken + text[cut:]
    if parsed(text) is not ValueError:
        return

    with pytest.raises(ValueError):  # noqa: PT011  # the message is the parser's
        json.loads(repair(text))


def test_repaired_text_is_no_larger_than_a_request_may_be() -> None:
    quoted = limits.REQUEST_BYTES.value // 3 * 3 - 3

    assert len(repair(b'"%s"' % (b"\xff" * (quoted // 3)))) == quoted + 2
    with pytest.raises(PayloadTooLarge):
        repair(b'"%s"' % (b"\xff" * (quoted // 3 + 2)))
