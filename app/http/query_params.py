"""Validation of query parameters that are used in database queries."""

from typing import Final

from app.common.errors import ValidationFailed
from app.common.storable_json import is_storable_json
from app.common.timestamps import parse_moment, to_microseconds

PERSONAL_API_KEY: Final = "personal_api_key"


def read_text(text: str | None) -> str | None:
    """Return the text; one with NUL or lone surrogates, which databases refuse, is invalid."""
    if text is not None and not is_storable_json(text):
        raise ValidationFailed("Null characters are not allowed.", code="null_characters_not_allowed")
    return text


def read_moment(text: str | None, name: str) -> int | None:
    """Return a date and time as microseconds since 1970 UTC."""
    if not text:
        return None
    moment = parse_moment(text)
    if moment is None:
        raise ValidationFailed(f"{text[:100]!r} is not an ISO 8601 date and time", attr=name)
    return to_microseconds(moment)
