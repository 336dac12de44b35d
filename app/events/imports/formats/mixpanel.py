"""Mixpanel: the raw export, and the raw export API."""

from typing import Any, Final

import msgspec
from msgspec import Raw

from app.events.capture.decoding.wire import WireEvent
from app.events.imports.records import EventRecord, LineRefused, named_uuid


class _Event(msgspec.Struct):
    event: str
    properties: dict[str, Any]  # whatever JSON holds


_NAMES: Final = {"$mp_web_page_view": "$pageview"}
_DEVICE: Final = "$device:"
_FIRST_MILLISECONDS: Final = 10_000_000_000
_RENAMED: Final = {
    "$city": "$geoip_city_name",
    "$region": "$geoip_subdivision_1_name",
    "mp_country_code": "$geoip_country_code",
    "mp_lib": "$lib",
}
_OF_TRANSPORT: Final = frozenset(
    {"time", "distinct_id", "$mp_api_endpoint", "mp_processing_time_ms", "$mp_api_timestamp_ms", "$geo_source"}
)
_decode: Final = msgspec.json.Decoder(_Event).decode


def read_event(line: bytes, time_offset: int = 0) -> EventRecord:
    """Read an event. ``time_offset``, in seconds, is for projects whose times are those of their zone."""
    sent = _decode(line)
    told = sent.properties
    time = told.get("time")
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise LineRefused("states no time")
    distinct_id = _distinct_id(told)
    if not distinct_id:
        raise LineRefused("names no distinct_id")
    milliseconds = round(time if time > _FIRST_MILLISECONDS else time * 1_000) + time_offset * 1_000
    properties = {_RENAMED.get(name, name): value for name, value in told.items() if name not in _OF_TRANSPORT}
    identifier = told.get("$insert_id")
    event = WireEvent(
        event=_NAMES.get(sent.event, sent.event),
        distinct_id=distinct_id,
        properties=Raw(msgspec.json.encode(properties)),
        timestamp=milliseconds / 1_000,
        uuid=named_uuid(identifier, time, told.get("distinct_id"), sent.event) if identifier else None,
    )
    return EventRecord(event, anonymous_id=_anonymous_id(told, distinct_id))


def _distinct_id(told: dict[str, Any]) -> str | None:
    """Return who did it: before an anonymous device was known, events had the id that the profile got later."""
    stated = told.get("distinct_id")
    before = told.get("$distinct_id_before_identity")
    if isinstance(before, str) and before and (not stated or str(stated).startswith(_DEVICE)):
        return before
    return None if stated is None else str(stated)


def _anonymous_id(told: dict[str, Any], distinct_id: str) -> str | None:
    user, device = told.get("$user_id"), told.get("$device_id")
    if not user or not device or str(user) != distinct_id:
        return None
    return f"{_DEVICE}{device}"
