"""Flags in the properties of events: browsers send their first events before they know their flags. Pure."""

from collections.abc import Mapping
from typing import Final

import msgspec

from app.common.json_text import append_members

ACTIVE_FLAGS: Final = "$active_feature_flags"
_FEATURE: Final = "$feature/"


class _Sender(msgspec.Struct, rename={"library": "$lib", "active_flags": ACTIVE_FLAGS}):
    library: object = None
    active_flags: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_read_sender = msgspec.json.Decoder(_Sender).decode
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def may_lack_flags(properties: str) -> bool:
    """Whether they may be a browser's: most events of servers are passed over without being read."""
    return '"web"' in properties


def lacks_flags(properties: str) -> bool:
    """Whether an event's properties, as JSON text, are those of a browser that did not know its flags yet."""
    if not may_lack_flags(properties):
        return False
    try:
        sender = _read_sender(properties)
    except (msgspec.DecodeError, RecursionError):  # whoever stores the event will say what is wrong with it
        return False
    return sender.library == "web" and sender.active_flags is msgspec.UNSET


def with_flags(properties: str, values: Mapping[str, bool | str]) -> str:
    """Return properties, as JSON text, with flags that are on. What the client says itself stays as it is."""
    present = _read_members(properties)
    added: dict[str, object] = {ACTIVE_FLAGS: list(values)}
    added |= {f"{_FEATURE}{key}": value for key, value in values.items()}
    missing = {name: value for name, value in added.items() if name not in present}
    return append_members(properties, msgspec.json.encode(missing).decode()[1:-1])
