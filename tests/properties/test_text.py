import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.properties.text import compact, number, print_float, text_form

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (None, ""),
        ('"x"', "x"),
        ('""', ""),
        ("2", "2"),
        ("2.0", "2"),
        ("2.5", "2.5"),
        ("1.50", "1.5"),
        ("1e3", "1000"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1e-7", "1e-7"),
        ("0.000001", "0.000001"),
        ("1e20", "100000000000000000000"),
        ("1.5e+22", "1.5e22"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", ""),
        ("-9223372036854775808", "-9223372036854775808"),
        ("-9223372036854775809", ""),
        ("9" * 5000, ""),
        ("1e400", ""),
        ("true", "true"),
        ("null", "null"),
        ('["a", "b"]', '["a","b"]'),
        ('{"b" : 1.0, "a": [ true, null, {} ], "b": []}', '{"b":1,"a":[true,null,{}],"b":[]}'),
        ("[18446744073709551616]", ""),
        ("[" * 100_000 + "]" * 100_000, ""),
        (r'"a\"b"', r"a\"b"),
        (r'"\"a\""', r"\"a\""),
        (r'"\u00e9\/\ud83d\ude00"', "é/😀"),
        (r'"\\\n\u001b"', r"\\\n\u001B"),
        (r'"\ud800x"', "\ufffdx"),
        ('"é \u2028"', "é \u2028"),
    ],
)
def test_text_form_is_the_json_text_without_blanks_and_outer_quotes(raw: str | None, text: str) -> None:
    assert text_form(None if raw is None else raw.encode()) == text


@given(value=JSON_VALUES, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_compact_form_means_the_same_and_does_not_depend_on_spacing(
    *, value: object, indent: int | None, ascii_only: bool
) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()

    # 6.257293524615685e16 is printed as 62572935246156850, an integer to the parser: numbers are compared as floats.
    assert json.loads(compact(raw), parse_int=float) == json.loads(raw, parse_int=float)
    assert compact(raw) == compact(json.dumps(value).encode())
    assert compact(compact(raw).encode()) == compact(raw)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_printed_float_is_read_back_exactly_and_is_never_longer_than_needed(value: float) -> None:
    printed = print_float(value)

    assert float(printed) == value
    assert not printed.endswith(".0")
    assert len(printed) <= 26


def test_infinite_number_is_not_printed() -> None:
    with pytest.raises(OverflowError, match="inf"):
        print_float(math.inf)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (None, None),
        ("7", 7.0),
        ("-2.50", -2.5),
        ("1e3", 1000.0),
        ('"2.5"', 2.5),
        ('" 1 000 "', 1000.0),
        ('"+.5e1"', 5.0),
        ("9007199254740993", 9007199254740992.0),
        ("18446744073709551616", None),
        ("1e400", None),
        ('"1e400"', None),
        ("1.5e400", None),
        ("true", None),
        ("null", None),
        ('""', None),
        ('"1_0"', None),
        ('"nan"', None),
        ('"infinity"', None),
        ('"0x1f"', None),
        ('"٣"', None),
        ('"5 apples"', None),
        ("[1]", None),
        ("{}", None),
    ],
)
def test_number_is_a_finite_decimal_number_or_a_text_of_one(raw: str | None, value: float | None) -> None:
    assert number(None if raw is None else raw.encode()) == value
