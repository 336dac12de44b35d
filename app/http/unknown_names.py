"""Names that a client sent and that are not understood, as errors and headers show them."""

from collections.abc import Collection, Sequence

from pydantic_core import PydanticCustomError

UNKNOWN_FIELD = "unknown_field"

_SHOWN_NAMES = 5
_SHOWN_CHARACTERS = 40


def name_some(names: Sequence[str]) -> str:
    """Return the first names in quotes, as ASCII text of bounded length."""
    shown = ", ".join(ascii(name[:_SHOWN_CHARACTERS]) for name in names[:_SHOWN_NAMES])
    left_out = len(names) - _SHOWN_NAMES
    return f"{shown} and {left_out} more" if left_out > 0 else shown


def unknown_fields(names: Sequence[str], known: Collection[str], inside: Sequence[str] = ()) -> PydanticCustomError:
    """Return the error of an object with unknown fields; ``place`` in its context leads to the first of them.

    The object is ``inside`` of fields of what is validated.
    """
    shown = names[0][:100].encode(errors="replace").decode()  # lone surrogates cannot be sent back
    detail = f"Unknown fields: {name_some(names)}; known are {', '.join(known)}."
    return PydanticCustomError(UNKNOWN_FIELD, "{detail}", {"detail": detail, "place": [*inside, shown]})
