"""The differences between two states of an item."""

from collections.abc import Mapping
from typing import Literal, TypeAlias, TypedDict

from pydantic import JsonValue

State: TypeAlias = Mapping[str, JsonValue]

ABSENT: State = {}  # the state of an item that does not exist


class Change(TypedDict):
    """A field that differs: `created` from null, `deleted` to null, or `changed`."""

    field: str
    action: Literal["created", "changed", "deleted"]
    before: JsonValue
    after: JsonValue


def changes_between(before: State, after: State) -> list[Change]:
    """Return the fields that differ, in the order of the states; a field that a state lacks is null there."""
    fields = dict.fromkeys((*before, *after))
    return [
        {"field": field, "action": _action(old, new), "before": old, "after": new}
        for field in fields
        if (old := before.get(field)) != (new := after.get(field))
    ]


def _action(before: JsonValue, after: JsonValue) -> Literal["created", "changed", "deleted"]:
    if before is None:
        return "created"
    return "deleted" if after is None else "changed"
