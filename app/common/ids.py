"""Ids as paths and bodies name them: 32-bit numbers and UUIDs."""

import re
from uuid import UUID

MAX_ID = 2**31 - 1
_WHOLE_NUMBER = re.compile(r"-?[0-9]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def read_id(text: str) -> int | None:
    """Read the id that a path names: 0, which nothing has, for a number out of range; None for what is no number."""
    if _WHOLE_NUMBER.fullmatch(text) is None:
        return None
    digits = text.lstrip("0")
    # Python refuses to read thousands of digits, and databases refuse far fewer.
    number = int(digits) if 0 < len(digits) <= len(str(MAX_ID)) else 0
    return number if 0 < number <= MAX_ID else 0


def read_reference(value: object) -> int | None:
    """Read the id by which a JSON document refers to a stored item: an integer, or a text of its ASCII digits.

    None for anything else, booleans and floats included, and for numbers that no item can have.
    """
    if isinstance(value, str):
        return read_id(value) or None
    return value if type(value) is int and 0 < value <= MAX_ID else None


def read_uuid(text: str) -> UUID | None:
    """Read the UUID that a path names, written with hyphens; None for what is none."""
    return UUID(text) if _UUID.fullmatch(text) else None
