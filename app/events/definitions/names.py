"""The names in some events: how often and when they were seen, and what the properties hold."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal, TypeAlias

import msgspec

from app.common import limits
from app.common.storable_json import is_storable_json
from app.common.time_slices import TimeSlices
from app.common.timestamps import from_microseconds
from app.events.repository import EventRow

PropertyType: TypeAlias = Literal["String", "Numeric", "Boolean", "DateTime"]

VOLUME_DAYS: Final = 30
EVENT: Final = "event"
PERSON: Final = "person"
# Properties that mean something to capture, and are of no use in a filter.
HIDDEN: Final = (
    "distinct_id",
    "$set",
    "$set_once",
    "$unset",
    "$groups",
    "$group_type",
    "$group_key",
    "$group_set",
    *(f"$group_{index}" for index in range(5)),
)
MAX_NAME_CHARACTERS: Final = 400

_DAY: Final = 86_400_000_000  # in microseconds
_SETS: Final = ("$set", "$set_once")
_GROUP_IDENTIFY: Final = "$groupidentify"
_DATE: Final = re.compile(rb'"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}[^"]{0,25})?"')
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
# The first byte of a JSON text, and what it begins.
_TYPES: Final[Mapping[int, PropertyType]] = {
    **dict.fromkeys(b"-0123456789", "Numeric"),
    **dict.fromkeys(b"tf", "Boolean"),
}


@dataclass
class Names:
    """What some events are called.

    Attributes
    ----------
    last_seen : dict of str to int
        For each name of an event, when the last of them happened: in microseconds since 1970 UTC, at most ``now``.
    volumes : Counter of (str, int)
        Events of the last 30 days by name and day.
    properties : dict of str to dict of str to PropertyType or None
        By their subject (``event``, ``person``, ``group_0``), what properties held first; None for nothing, lists and
        objects.
    of_events : dict of str to set of str
        The properties that events of a name have.
    """

    now: int
    group_types: Mapping[str, int]
    last_seen: dict[str, int] = field(default_factory=dict)
    volumes: Counter[tuple[str, int]] = field(default_factory=Counter)
    properties: dict[str, dict[str, PropertyType | None]] = field(default_factory=dict)
    of_events: dict[str, set[str]] = field(default_factory=dict)
    _settled: dict[str, set[str]] = field(default_factory=dict)  # properties of which the type is known

    @property
    def first_day(self) -> int:
        """The first day that counts for the volume."""
        return self.now // _DAY - VOLUME_DAYS + 1

    def last_seen_at(self, name: str) -> dt.datetime:
        return from_microseconds(self.last_seen[name])

    async def add(self, rows: Iterable[EventRow]) -> None:
        """Add the names in some events, in slices between which other requests are served."""
        slices = TimeSlices()
        for _, _, time, name, properties in rows:
            self._add_event(name, time)
            if len(properties) <= limits.DEFINED_EVENT_BYTES.value:
                self._add_properties(name, _members(properties.encode()))
            if slices.are_over():
                await slices.pause()

    def _add_event(self, name: str, time: int) -> None:
        seen = min(time, self.now)
        self.last_seen[name] = max(seen, self.last_seen.get(name, seen))
        if time <= self.now and time // _DAY >= self.first_day:
            self.volumes[name, time // _DAY] += 1

    def _add_properties(self, name: str, members: Mapping[str, msgspec.Raw]) -> None:
        known = self.of_events.setdefault(name, set())
        for key in members if len(known) < limits.EVENT_PROPERTIES.value else ():
            if key not in known and _is_name(key):
                known.add(key)
                if len(known) >= limits.EVENT_PROPERTIES.value:
                    break
        self._add_all(EVENT, members)
        for key in _SETS:
            if key in members:
                self._add_all(PERSON, _members(members[key]))
        if name == _GROUP_IDENTIFY and "$group_set" in members:
            index = self.group_types.get(_text(members.get("$group_type")))
            if index is not None:
                self._add_all(f"group_{index}", _members(members["$group_set"]))

    def _add_all(self, subject: str, members: Mapping[str, msgspec.Raw]) -> None:
        """Add properties of a subject, of one event at most as many as are kept of the events of a name."""
        types, settled = self.properties.setdefault(subject, {}), self._settled.setdefault(subject, set())
        new = (key for key in members if key not in settled)
        for key in islice(new, limits.EVENT_PROPERTIES.value):
            if key not in types and (len(types) >= limits.DEFINITIONS.value or not _is_name(key)):
                continue
            types[key] = _type_of(members[key])
            if types[key] is not None:
                settled.add(key)


def _is_name(key: str) -> bool:
    return 0 < len(key) <= MAX_NAME_CHARACTERS and is_storable_json(key)


def _members(document: bytes | msgspec.Raw) -> Mapping[str, msgspec.Raw]:
    """Return the members of an object; none of what is no object, or no JSON that can be read."""
    try:
        return _MEMBERS.decode(document)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}


def _text(value: msgspec.Raw | None) -> str:
    try:
        return "" if value is None else _TEXT.decode(value)
    except msgspec.DecodeError:
        return ""


def _type_of(value: msgspec.Raw) -> PropertyType | None:
    text = bytes(value).strip()
    if text[:1] != b'"':
        return _TYPES.get(text[0]) if text else None
    return "DateTime" if _DATE.fullmatch(text) else "String"
