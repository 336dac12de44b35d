"""Reads the groups in the properties of an event."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec
from msgspec import Raw

from app.common.json_text import append_members, write_json
from app.common.limits import EVENT_GROUPS
from app.common.storable_json import is_storable_json
from app.people.properties import Properties, check_values, read_properties
from app.properties.decoding import PropertyReader, UnreadablePropertiesError
from app.properties.text import text_form

GROUP_IDENTIFY: Final = "$groupidentify"
MAX_CHARACTERS: Final = 400

_UNSTORABLE: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")  # an escape of NUL, or of half a character
_groups_reader = PropertyReader(["$groups"])
_identify_reader = PropertyReader(["$group_type", "$group_key", "$group_set"])
# What clients write where they have no group at hand.
_NOTHING: Final = frozenset({"undefined", "null", "None", "NaN", "[object Object]"})
_NUMBER: Final = tuple("-0123456789")
_decode_groups = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class DescribedGroup:
    """The type and key of a group in a ``$groupidentify`` event, and the JSON of its properties."""

    type_name: str
    key: str
    sent: Raw

    def read_properties(self) -> Properties:
        """Return the properties that every database can store."""
        if _UNSTORABLE.search(self.sent) is None:
            with suppress(msgspec.DecodeError, RecursionError):  # a number beyond a float, for example
                check_values(self.sent)
                return read_properties(self.sent)
        return _read_storable(bytes(self.sent))


def groups_of(properties: str) -> dict[str, str]:
    """Return the groups that an event belongs to: the JSON of a group's key by the name of its type."""
    # A key may be written with escapes. A single character is found in a twentieth of the time that two take.
    if '$groups"' not in properties and ("\\" not in properties or "\\u" not in properties):
        return {}
    try:
        token = _groups_reader.read(properties).get("$groups", b"{}")
        groups = _decode_groups(token)
    except (UnreadablePropertiesError, msgspec.DecodeError, RecursionError):
        return {}
    first = islice(groups.items(), EVENT_GROUPS.value)
    named = {_storable(name): str(raw, "utf-8") for name, raw in first}
    return {name: key for name, key in named.items() if 0 < len(name) <= MAX_CHARACTERS and _is_key(key)}


def is_group_key(value: object) -> bool:
    """Whether a decoded value names a group: a number, or a text that is not what clients write for no value."""
    if isinstance(value, str):
        return bool(value.strip()) and value.strip() not in _NOTHING
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_key(raw: str) -> bool:
    if not raw.startswith('"'):
        return raw.startswith(_NUMBER)
    return is_group_key(json.loads(raw) if "\\" in raw else raw[1:-1])


def with_group_keys(properties: str, keys: Sequence[tuple[int, str]]) -> str:
    """Return properties with ``$group_<index>`` for each (index, JSON of the key) appended.

    Nothing else in the text changes. Where a key is repeated, readers use the last value.
    """
    return append_members(properties, ",".join(f'"$group_{index}":{key}' for index, key in keys))


def described_group(properties: str) -> DescribedGroup | None:
    """Return the group of a ``$groupidentify`` event, or None when the event lacks the type or the key."""
    try:
        tokens = _identify_reader.read(properties)
    except UnreadablePropertiesError:
        return None
    type_name, key = (_name(tokens.get(name)) for name in ("$group_type", "$group_key"))
    if not 0 < len(type_name) <= MAX_CHARACTERS or not key:
        return None
    return DescribedGroup(type_name, key[:MAX_CHARACTERS], Raw(tokens.get("$group_set", b"{}")))


def _name(raw: bytes | None) -> str:
    """Return a text decoded, and other JSON in its text form; an empty text for a falsy value."""
    if raw is None or raw == b"0" or not _is_key(raw.decode(errors="replace")):
        return ""
    value = json.loads(raw.decode(errors="replace")) if raw.startswith(b'"') else text_form(raw)
    return _storable(value) if isinstance(value, str) else ""


def _read_storable(text: bytes) -> Properties:
    try:
        value = json.loads(text.decode(errors="replace"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    storable = {key: nested for key, nested in value.items() if is_storable_json(key) and is_storable_json(nested)}
    return {
        key: Raw(write_json(nested).encode()) if isinstance(nested, dict | list) else nested
        for key, nested in storable.items()
    }


def _storable(text: str) -> str:
    """Return text without NUL and unpaired surrogates, which databases refuse."""
    if text.isascii() and "\0" not in text:
        return text
    clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return clean.replace("\0", "\N{REPLACEMENT CHARACTER}")
