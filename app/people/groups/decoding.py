"""Reading groups out of the properties of an event. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from app.common.json_text import append_members
from app.common.storable_json import is_storable_json
from app.properties.decoding import PropertyReader, UnreadablePropertiesError
from app.properties.text import text_form

GROUP_IDENTIFY: Final = "$groupidentify"
MAX_CHARACTERS: Final = 400

_groups_reader = PropertyReader(["$groups"])
_identify_reader = PropertyReader(["$group_type", "$group_key", "$group_set"])
_decode_groups = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class DescribedGroup:
    """A group that a ``$groupidentify`` event describes."""

    type_name: str
    key: str
    properties: Mapping[str, Any]  # whatever JSON holds


def groups_of(properties: str) -> dict[str, str]:
    """Return the groups that an event belongs to: the JSON of a group's key by the name of its type."""
    if '$groups"' not in properties and "\\u" not in properties:  # a key may be written with escapes
        return {}
    try:
        token = _groups_reader.read(properties).get("$groups", b"{}")
        groups = _decode_groups(token)
    except (UnreadablePropertiesError, msgspec.DecodeError, RecursionError):
        return {}
    named = {_storable(name): str(raw, "utf-8") for name, raw in groups.items()}
    return {name: key for name, key in named.items() if 0 < len(name) <= MAX_CHARACTERS}


def with_group_keys(properties: str, keys: Sequence[tuple[int, str]]) -> str:
    """Return properties with ``$group_<index>`` for each (index, JSON of the key) appended."""
    return append_members(properties, ",".join(f'"$group_{index}":{key}' for index, key in keys))


def described_group(properties: str) -> DescribedGroup | None:
    """Return what a ``$groupidentify`` event says, or None when it lacks the type or the key."""
    try:
        tokens = _identify_reader.read(properties)
    except UnreadablePropertiesError:
        return None
    type_name, key = (_name(tokens.get(name)) for name in ("$group_type", "$group_key"))
    if not 0 < len(type_name) <= MAX_CHARACTERS or not key:
        return None
    return DescribedGroup(type_name, key[:MAX_CHARACTERS], _members(tokens.get("$group_set")))


def _name(raw: bytes | None) -> str:
    """Return a text as it was meant, and anything else in its text form; nothing for what is no name."""
    if raw is None or raw in {b"null", b"false", b"0", b'""'}:
        return ""
    value = json.loads(raw.decode(errors="replace")) if raw.startswith(b'"') else text_form(raw)
    return _storable(value) if isinstance(value, str) else ""


def _members(raw: bytes | None) -> dict[str, Any]:
    try:
        value = json.loads((raw or b"{}").decode(errors="replace"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {name: member for name, member in value.items() if is_storable_json(name) and is_storable_json(member)}


def _storable(text: str) -> str:
    """Return text without NUL and halves of surrogate pairs, which databases refuse."""
    clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return clean.replace("\0", "\N{REPLACEMENT CHARACTER}")
