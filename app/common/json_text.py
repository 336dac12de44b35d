"""JSON as text: written compactly, and extended without being parsed."""

import json
from typing import Final

_NOT_A_VALUE: Final = frozenset(("", "{", " ", "\t", "\r", "\n"))  # what may stand before the end of an object


def write_json(document: object) -> str:
    """Write a document compactly, as every reader of JSON and every database can take it.

    Raises
    ------
    ValueError
        When it holds NaN or an infinity.
    """
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def append_members(document: str, members: str) -> str:
    """Append members, written as ``"key":value,...``, to the text of a JSON object, the rest of which stays as it is.

    A reader of a repeated key takes the last one.
    """
    if not members:
        return document
    if document[-1:] == "}" and document[-2:-1] not in _NOT_A_VALUE:
        return f"{document[:-1]},{members}}}"
    head = document.rstrip().removesuffix("}").rstrip()
    return f"{head}{'' if head.endswith('{') else ','}{members}}}"


def storable_text(value: object) -> str:
    """Return a text as it is and any other value as JSON; without NUL, which databases refuse."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
