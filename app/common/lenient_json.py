"""JSON as clients truly send it, and as it may be stored. Pure."""

import json
import math
from typing import Final

MAX_DIGITS: Final = 1_000


def read_text(body: bytes) -> str:
    """Return the text of bytes in which surrogate halves may be encoded one by one, as old browsers did it."""
    try:
        return body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return body.decode("utf-8", "replace")


def load(text: str) -> object:
    """Read what JavaScript and Python clients send and JSON forbids: NaN, Infinity, halves of surrogate pairs.

    Raises
    ------
    ValueError, RecursionError
        When it is no JSON by any measure, or nests too deeply.
    """
    return _clean(json.loads(text, parse_constant=lambda _: None, parse_int=_read_integer))


def _read_integer(digits: str) -> int | None:
    """Return a whole number; None where it has so many digits that Python refuses to read it."""
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
