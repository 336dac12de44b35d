"""The payloads of a flag: JSON that SDKs get with a value."""

import json
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.flags.filters import JsonDict, variants_of

ENABLED: Final = "true"  # the key of the payload of a flag without variants


def payloads_of(filters: JsonDict) -> Mapping[str, str]:
    """Return a flag's payloads, as JSON texts, by variant; ``true`` is the key of a flag without variants.

    A text that is not JSON, which older versions of the API accepted, becomes a JSON string: SDKs parse payloads, and
    some lose the whole flag over one that they cannot parse.
    """
    payloads = filters.get("payloads")
    if not isinstance(payloads, dict):
        return {}
    return {name: _json_text(value) for name, value in payloads.items() if value is not None}


def validate_payloads(filters: JsonDict) -> None:
    """Refuse payloads that are not JSON, and payloads of values that the flag cannot have.

    Raises
    ------
    ValidationFailed
        With ``attr`` ``filters``.
    """
    payloads = filters.get("payloads")
    if not isinstance(payloads, dict):
        return
    keys = {str(variant.get("key")) for variant in variants_of(filters)}
    for name, value in payloads.items():
        if keys and name not in keys:
            raise _refusal(f"Payload keys must match a variant key for multivariate flags, got {name[:100]!r}")
        if not keys and name != ENABLED:
            raise _refusal(f"Payload keys must be 'true' for boolean flags, got {name[:100]!r}")
        if isinstance(value, str) and not _is_json(value):
            raise _refusal(f"Payload value is not valid JSON: {name[:100]!r}")


def _json_text(value: JsonValue) -> str:
    if isinstance(value, str) and _is_json(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_json(text: str) -> bool:
    """Whether all SDKs can parse a text: ``NaN`` is a number to some of them only."""
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _refusal(why: str) -> ValidationFailed:
    return ValidationFailed(f"Filters are not valid ({why})", attr="filters")
