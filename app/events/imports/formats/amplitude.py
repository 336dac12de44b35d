"""Amplitude: the Export API, whose archives hold one compressed file of lines for each hour."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from app.events.capture.decoding.wire import WireEvent
from app.events.imports.records import EventRecord, LineRefused, named_uuid
from app.sdk.bounded_structs import Scalar

Properties = dict[str, Any]  # whatever JSON holds


class _Event(msgspec.Struct, rename={"insert_id": "$insert_id"}):
    event_type: str | None = None
    event_time: str | None = None
    client_event_time: str | None = None
    server_received_time: str | None = None
    user_id: str | int | None = None
    device_id: str | int | None = None
    session_id: Scalar = None
    event_id: Scalar = None
    uuid: str | None = None
    insert_id: Scalar = None
    event_properties: Properties | None = None
    user_properties: Properties | None = None
    groups: Properties | None = None
    ip_address: str | None = None
    country: str | None = None
    city: str | None = None
    region: str | None = None
    os_name: str | None = None
    os_version: Scalar = None
    device_type: str | None = None
    library: str | None = None
    language: str | None = None
    platform: str | None = None


_NAMES: Final = {"[Amplitude] Page Viewed": "$pageview"}
_SKIPPED: Final = "session_start"
_NONE: Final = "EMPTY"
_INITIAL: Final = "initial_"
# What events say, by the names under which SDKs say it. Amplitude calls a browser an operating system.
_FIELDS: Final = {
    "ip_address": "$ip",
    "country": "$geoip_country_name",
    "city": "$geoip_city_name",
    "region": "$geoip_subdivision_1_name",
    "os_name": "$browser",
    "os_version": "$browser_version",
    "device_type": "$os",
    "library": "$lib",
    "language": "$browser_language",
    "platform": "$amplitude_platform",
    "user_id": "$amplitude_user_id",
    "device_id": "$device_id",
    "session_id": "$session_id",
}
_OF_PAGES: Final = {
    "[Amplitude] Page URL": "$current_url",
    "[Amplitude] Page Domain": "$host",
    "[Amplitude] Page Path": "$pathname",
    "referrer": "$referrer",
    "referring_domain": "$referring_domain",
}
_decode: Final = msgspec.json.Decoder(_Event).decode
_encode: Final = msgspec.json.encode


def read_event(line: bytes) -> EventRecord | None:
    """Read an event; None for the start of a session, which the next event tells too."""
    sent = _decode(line)
    if sent.event_type == _SKIPPED:
        return None
    if not sent.event_type:
        raise LineRefused("names no event_type")
    if sent.user_id in {None, ""} and sent.device_id in {None, ""}:
        raise LineRefused("names neither user_id nor device_id")
    user, device = (None if one in {None, ""} else str(one) for one in (sent.user_id, sent.device_id))
    time = sent.event_time or sent.client_event_time
    event = WireEvent(
        event=_NAMES.get(sent.event_type, sent.event_type),
        distinct_id=user or device,
        properties=Raw(_encode(_properties(sent))),
        timestamp=time,
        uuid=sent.uuid or (named_uuid(sent.insert_id, device, user, time) if sent.insert_id else None),
    )
    first, latest = _of_person(sent.user_properties or {})
    event.set_once = Raw(_encode(first)) if first else UNSET
    event.set = Raw(_encode(latest)) if latest else UNSET
    return EventRecord(event, sent.server_received_time, anonymous_id=device if user and user != device else None)


def _properties(sent: _Event) -> Properties:
    properties: Properties = {}
    for field, name in _FIELDS.items():
        value = getattr(sent, field)
        if value not in {None, "", -1}:
            properties[name] = value
    own = sent.event_properties or {}
    properties |= {name: own[source] for source, name in _OF_PAGES.items() if source in own}
    groups = {name: _first(keys) for name, keys in (sent.groups or {}).items()}
    if any(key is not None for key in groups.values()):
        properties["$groups"] = {name: key for name, key in groups.items() if key is not None}
    return properties | own


def _first(keys: object) -> object:
    """Return the group of a type: an event of Amplitude may have several, of which the first counts."""
    return next(iter(keys), None) if isinstance(keys, list) else keys


def _of_person(properties: Mapping[str, Any]) -> tuple[Properties, Properties]:
    """Return the properties of a person that stay as they came first, and those that follow the latest event."""
    told = {name: value for name, value in properties.items() if value not in (None, _NONE)}  # a value may be a list
    first = {f"${name}": value for name, value in told.items() if name.startswith(_INITIAL)}
    return first, {name: value for name, value in told.items() if not name.startswith(_INITIAL)}
