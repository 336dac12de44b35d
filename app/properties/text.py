"""The text form of a JSON value, which filters, breakdowns and sums compare."""

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

_LARGEST_UNSIGNED: Final = 2**64 - 1
_SMALLEST_SIGNED: Final = -(2**63)
_LONGEST_INTEGER: Final = 20  # characters of either bound
_SAFE_DIGITS: Final = 18  # this many digits always fit into 64 bits
_SMALLEST_FIXED: Final = 1e-6
_SMALLEST_SCIENTIFIC: Final = 1e21
_ESCAPES: Final = {code: f"\\u{code:04X}" for code in range(0x20)} | {
    ord(character): escape
    for character, escape in {
        '"': '\\"',
        "\\": "\\\\",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
    }.items()
}
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


class _PrintedNumber(str):
    """The text of a number inside an array or an object."""

    __slots__ = ()


def text_form(raw: bytes | None) -> str:
    r"""Return the text form of a raw JSON token.

    Parameters
    ----------
    raw : bytes or None
        One valid JSON value in UTF-8; None means that the property is absent.

    Returns
    -------
    str
        The JSON text without blanks, and without the quotes of a string: ``"x"`` becomes ``x``, ``true`` stays
        ``true``, ``null`` stays ``null``, ``["a", "b"]`` becomes ``["a","b"]``. An absent property, and a number beyond
        64 bits, become the empty text. Numbers are normalized: ``2.0``, ``2`` and ``20e-1`` all become ``2``. Quotes,
        backslashes and control characters inside a string stay escaped (``a\"b``); other escapes are decoded.

    Notes
    -----
    This is ``replaceRegexpAll(JSONExtractRaw(properties, key), '^"|"$', '')`` of ClickHouse, the expression by which
    PostHog reads a property. A filter on ``2`` therefore matches both the number 2 and the text "2".
    """
    if raw is None:
        return ""
    if raw[0] == 0x22:  # a double quote
        if b"\\" not in raw:
            return raw[1:-1].decode(errors="replace")
        return _escaped(json.loads(raw.decode(errors="replace")))
    return compact(raw)


def plain_text(raw: bytes | None) -> str:
    """Return a raw JSON token as the text that conditions compare.

    A string is its own text. Everything else is its JSON: numbers are normalized as in `text_form`, at any size, and
    objects are without blanks and in the order of their keys. An absent property is the empty text.
    """
    if raw is None:
        return ""
    first = raw[0]
    if first == 0x22:  # a double quote
        if b"\\" not in raw:
            return raw[1:-1].decode(errors="replace")
        return _without_surrogates(json.loads(raw.decode(errors="replace")))
    if first in b"tfn" or (len(raw) <= _SAFE_DIGITS and raw.isdigit()):  # true, false, null, or a normalized integer
        return raw.decode()
    if first in b"{[":
        return sorted_json(raw.decode(errors="replace"))
    return _number_text(raw.decode())


def sorted_json(document: str) -> str:
    """Return a JSON text without blanks, its numbers normalized and its objects in the order of their keys.

    The text itself where it is nested too deeply.
    """
    try:
        value = json.loads(document, parse_int=_NumberText, parse_float=_NumberText, object_pairs_hook=_sorted_pairs)
        return _without_surrogates("".join(_plain_pieces(value)))
    except RecursionError:
        return document


def _sorted_pairs(pairs: list[tuple[str, object]]) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(dict(pairs).items()))


class _NumberText(str):
    """The digits of a number inside an array or an object."""

    __slots__ = ()


def _plain_pieces(value: object) -> Iterator[str]:
    if isinstance(value, tuple):
        members = (f"{json.dumps(key, ensure_ascii=False)}:{''.join(_plain_pieces(member))}" for key, member in value)
        yield f"{{{','.join(members)}}}"
    elif isinstance(value, list):
        yield f"[{','.join(''.join(_plain_pieces(member)) for member in value)}]"
    else:
        yield _number_text(value) if isinstance(value, _NumberText) else json.dumps(value, ensure_ascii=False)


def _number_text(digits: str) -> str:
    """Normalize a JSON number; one beyond all floats keeps its digits."""
    if "." not in digits and "e" not in digits and "E" not in digits:
        return "0" if digits == "-0" else digits
    try:
        return print_float(float(digits))
    except OverflowError:
        return digits


def is_decimal(text: str) -> bool:
    """Whether a text is a decimal number, of any size."""
    return _NUMBER.fullmatch(text) is not None


def parse_number(text: str) -> float | None:
    """Return the text of a decimal number as a finite number; None if it is not one, also where blanks surround it."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def compact(raw: bytes | None) -> str:
    """Return a raw JSON token as text like `text_form`, but with the quotes of a string."""
    if raw is None:
        return ""
    first = raw[0]
    if first == 0x22:
        return f'"{text_form(raw)}"'
    if first in b"tfn" or (len(raw) <= _SAFE_DIGITS and raw.isdigit()):  # true, false, null, or a normalized integer
        return raw.decode()
    try:
        return _compact_container(raw.decode(errors="replace")) if first in b"{[" else _printed_number(raw.decode())
    except (OverflowError, RecursionError):
        return ""


def number(raw: bytes | None) -> float | None:
    """Return a raw JSON token as a finite number; None if its text form is not one.

    The text of a decimal number counts (``"2.5"``); blanks and quotes in it are ignored. A boolean is not a number.
    """
    if raw is None:
        return None
    if raw[0] in b"-0123456789" and (len(raw) <= _SAFE_DIGITS or b"." in raw):
        value = float(raw)
        return value if math.isfinite(value) else None
    return number_of_text(text_form(raw))


def number_of_text(text: str) -> float | None:
    """Return a text as a finite number, ignoring blanks and quotes; None if it is not one."""
    bare = text.replace('"', "").replace(" ", "")
    if not _NUMBER.fullmatch(bare):
        return None
    value = float(bare)
    return value if math.isfinite(value) else None


def print_float(value: float) -> str:
    """Print a finite number with the fewest digits that identify it.

    Raises
    ------
    OverflowError
        For an infinite number.

    Notes
    -----
    Fixed notation from 1e-6 up to 1e21 and scientific notation beyond, as in ``Number::toString`` of ECMA-262, except
    that a positive exponent has no sign (``1e21``), as ClickHouse prints it.
    """
    if math.isinf(value):
        raise OverflowError(f"not a finite number: {value}")
    digits = repr(value + 0.0)  # -0.0 becomes 0.0
    if "e" not in digits:
        return digits.removesuffix(".0")
    if _SMALLEST_FIXED <= abs(value) < _SMALLEST_SCIENTIFIC:
        return format(Decimal(digits), "f")
    mantissa, _, exponent = digits.partition("e")
    return f"{mantissa}e{int(exponent)}"


def _printed_number(digits: str) -> str:
    """Normalize a JSON number; OverflowError if it exceeds 64 bits."""
    if "." in digits or "e" in digits or "E" in digits:
        return print_float(float(digits))
    if len(digits) > _LONGEST_INTEGER:  # before int(), which refuses thousands of digits
        raise OverflowError(f"an integer of {len(digits)} characters")
    value = int(digits)
    if not _SMALLEST_SIGNED <= value <= _LARGEST_UNSIGNED:
        raise OverflowError(f"an integer beyond 64 bits: {value}")
    return str(value)


def _compact_container(document: str) -> str:
    value = json.loads(document, parse_int=_print_inside, parse_float=_print_inside, object_pairs_hook=tuple)
    return "".join(_pieces(value))


def _print_inside(digits: str) -> _PrintedNumber:
    return _PrintedNumber(_printed_number(digits))


def _pieces(value: object) -> list[str]:
    """Print parsed JSON, in which objects are tuples of pairs, so that repeated keys keep their positions."""
    if isinstance(value, tuple):
        members = [f'"{_escaped(key)}":{"".join(_pieces(member))}' for key, member in value]
        return ["{", ",".join(members), "}"]
    if isinstance(value, list):
        return ["[", ",".join("".join(_pieces(member)) for member in value), "]"]
    if isinstance(value, _PrintedNumber):
        return [value]
    if isinstance(value, str):
        return ['"', _escaped(value), '"']
    return ["null" if value is None else str(value).lower()]


def _escaped(text: str) -> str:
    return _without_surrogates(text).translate(_ESCAPES)


def _without_surrogates(text: str) -> str:
    """Replace lone surrogates, which cannot be encoded as UTF-8, by the replacement character."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
