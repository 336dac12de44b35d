"""Lenient parsing of the JSON that clients send."""

import json
import math
from typing import Final

MAX_DIGITS: Final = 1_000


def read_text(body: bytes) -> str:
    """Decode UTF-8 in which surrogate halves may be encoded separately, as old browsers do."""
    try:
        return body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return body.decode("utf-8", "replace")


def load(text: str) -> object:
    """Parse JSON with what JavaScript and Python clients send beyond it: NaN, Infinity, lone surrogates.

    Raises
    ------
    ValueError, RecursionError
        When the text is not JSON even so, or is nested too deeply.
    """
    return _clean(json.loads(text, parse_constant=lambda _: None, parse_int=_read_integer))


def _read_integer(digits: str) -> int | None:
    """Return an integer; None if it has more digits than Python parses."""
    return int(digits) if len(digits) <= MAX_DIGITS else None


def _clean(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
