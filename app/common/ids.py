"""Parsing of ids in paths and bodies: 32-bit integers and UUIDs."""

import re
from uuid import UUID

MAX_ID = 2**31 - 1
_WHOLE_NUMBER = re.compile(r"-?[0-9]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def read_id(text: str) -> int | None:
    """Parse an integer id: None if it is not an integer; 0, which no object has, if it is out of range."""
    if _WHOLE_NUMBER.fullmatch(text) is None:
        return None
    digits = text.lstrip("0")
    # Python refuses to parse thousands of digits, and databases accept far fewer.
    number = int(digits) if 0 < len(digits) <= len(str(MAX_ID)) else 0
    return number if 0 < number <= MAX_ID else 0


def read_reference(value: object) -> int | None:
    """Read the id by which a JSON document refers to a stored item: an integer, or a text of its ASCII digits.

    Blanks around the digits and a plus before them make no difference. None for anything else, booleans and floats
    included, and for numbers that no item can have.
    """
    if isinstance(value, str):
        return read_id(value.strip().removeprefix("+")) or None
    return value if type(value) is int and 0 < value <= MAX_ID else None


def read_uuid(text: str) -> UUID | None:
    """Parse a UUID that is written with hyphens; None if the text is not one."""
    return UUID(text) if _UUID.fullmatch(text) else None
