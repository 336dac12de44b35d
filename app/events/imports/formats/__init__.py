"""The formats of exports, each a function from a line to what it says; and which one a line is of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import msgspec

from app.events.imports.formats import abacus, amplitude, mixpanel, posthog, segment
from app.events.imports.records import ReadLine

Format = Literal["posthog", "amplitude", "mixpanel", "segment", "abacus"]
Kind = Literal["events", "persons", "experiments", "results"]
_SEGMENT_CALLS: Final = frozenset({"track", "identify", "page", "screen", "group", "alias"})
_ABACUS_KINDS: Final[Mapping[str, Kind]] = {
    "event": "events",
    "person": "persons",
    **dict.fromkeys(("experiment", "action", "cohort", "cohort_members", "holdout", "saved_metric"), "experiments"),
    "result": "results",
}
_decode: Any = msgspec.json.Decoder().decode  # any JSON


@dataclass(frozen=True)
class Recognized:
    """The format of a file, and what it holds."""

    format: Format
    kind: Kind

    def reader(self, time_offset: int) -> ReadLine:
        """Return the function that reads a line; ``time_offset``, in seconds, is added to times of Mixpanel."""
        if self.format == "mixpanel":
            return partial(mixpanel.read_event, time_offset=time_offset)
        return _READERS[self.format, self.kind]


_READERS: Final[Mapping[tuple[Format, Kind], ReadLine]] = {
    ("posthog", "events"): posthog.read_event,
    ("posthog", "persons"): posthog.read_person,
    ("amplitude", "events"): amplitude.read_event,
    ("segment", "events"): segment.read_call,
    ("abacus", "events"): abacus.read_event,
    ("abacus", "persons"): abacus.read_person,
}
_RULES: Final[tuple[tuple[Callable[[Mapping[str, Any]], bool], Recognized], ...]] = (
    (lambda line: "event_type" in line and "event" not in line, Recognized("amplitude", "events")),
    (lambda line: line.get("type") in _SEGMENT_CALLS and "event_type" not in line, Recognized("segment", "events")),
    (lambda line: "event" in line and _is_of_mixpanel(line), Recognized("mixpanel", "events")),
    (lambda line: "event" in line, Recognized("posthog", "events")),
    (lambda line: "person_id" in line and "distinct_id" in line, Recognized("posthog", "persons")),
)


def recognize(line: bytes, chosen: Format | None) -> Recognized | None:
    """Return the format and kind of a file that begins with a line; None where it is not one of a known format."""
    try:
        document = _decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    if kind := _ABACUS_KINDS.get(str(document.get("abacus"))):
        return Recognized("abacus", kind) if chosen in {None, "abacus"} else None
    if chosen is not None:
        kinds = [
            found for holds, found in _RULES if found.format == chosen and (chosen != "posthog" or holds(document))
        ]
        return kinds[0] if kinds else None
    return next((found for holds, found in _RULES if holds(document)), None)


def _is_of_mixpanel(line: Mapping[str, Any]) -> bool:
    properties = line.get("properties")
    if not isinstance(properties, dict) or "timestamp" in line or "distinct_id" in line:
        return False
    return "time" in properties and not isinstance(properties["time"], str)
