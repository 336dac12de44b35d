"""Flags in the properties of events: browsers send their first events before they receive their flags."""

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
_read_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def may_lack_flags(properties: str) -> bool:
    """Whether the properties may come from a browser: most events of servers are skipped without decoding."""
    return '"web"' in properties


def lacks_flags(properties: str) -> bool:
    """Whether properties, as JSON text, come from a browser that had not received its flags yet."""
    if not may_lack_flags(properties):
        return False
    try:
        sender = _read_sender(properties)
    except (msgspec.DecodeError, RecursionError):  # the code that stores the event reports the error
        return False
    return sender.library == "web" and sender.active_flags is msgspec.UNSET


def with_flags(properties: str, values: Mapping[str, bool | str]) -> str:
    """Return properties, as JSON text, with the enabled flags. Values that the client sent are kept."""
    present = _read_object(properties)
    added: dict[str, object] = {ACTIVE_FLAGS: list(values)}
    added |= {f"{_FEATURE}{key}": value for key, value in values.items()}
    missing = {name: value for name, value in added.items() if name not in present}
    return append_members(properties, msgspec.json.encode(missing).decode()[1:-1])
