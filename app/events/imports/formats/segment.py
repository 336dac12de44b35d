"""Segment: raw calls, as its warehouses of files keep them. ``timestamp`` is corrected by Segment already."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from app.events.capture.decoding.wire import WireEvent
from app.events.imports.records import EventRecord, LineRefused, named_uuid

Properties = dict[str, Any]  # whatever JSON holds


class _Call(
    msgspec.Struct,
    rename={
        "message_id": "messageId",
        "user_id": "userId",
        "anonymous_id": "anonymousId",
        "previous_id": "previousId",
        "group_id": "groupId",
        "received_at": "receivedAt",
        "original_timestamp": "originalTimestamp",
    },
):
    type: str
    message_id: str | None = None
    user_id: str | int | None = None
    anonymous_id: str | int | None = None
    previous_id: str | int | None = None
    group_id: str | int | None = None
    event: str | None = None
    name: str | None = None
    properties: Properties | None = None
    traits: Properties | None = None
    context: Properties | None = None
    timestamp: str | None = None
    original_timestamp: str | None = None
    received_at: str | None = None


_GROUP_TYPE: Final = "group"  # Segment knows one type of groups, and does not name it
_OF_PAGES: Final = {"url": "$current_url", "path": "$pathname", "referrer": "$referrer", "title": "title"}
_decode: Final = msgspec.json.Decoder(_Call).decode


def read_call(line: bytes) -> EventRecord:
    """Read a call as the event that an SDK would send for it."""
    call = _decode(line)
    user, anonymous, previous = map(_text, (call.user_id, call.anonymous_id, call.previous_id))
    distinct_id = user or anonymous
    if not distinct_id:
        raise LineRefused("names neither userId nor anonymousId")
    name, properties = _content(call)
    event = WireEvent(
        event=name,
        distinct_id=distinct_id,
        timestamp=call.timestamp or call.original_timestamp,
        uuid=named_uuid(call.message_id) if call.message_id else None,
    )
    if call.type == "alias":
        properties["alias"] = previous or anonymous
    elif call.type == "identify":
        if anonymous and anonymous != distinct_id:
            properties["$anon_distinct_id"] = anonymous
        event.set = Raw(msgspec.json.encode(call.traits)) if call.traits else UNSET
    event.properties = Raw(msgspec.json.encode(_of_context(call.context or {}) | properties))
    linked = anonymous if user and anonymous != user and call.type not in {"alias", "identify"} else None
    return EventRecord(event, call.received_at, anonymous_id=linked)


def _content(call: _Call) -> tuple[str, Properties]:
    """Return the name of an event and its properties."""
    properties = dict(call.properties or {})
    if call.type == "track":
        if not call.event:
            raise LineRefused("a call of type track names no event")
        return call.event, properties
    if call.type in {"page", "screen"}:
        named = {"$screen_name": call.name} if call.type == "screen" else {"name": call.name}
        found = {name: properties[source] for source, name in _OF_PAGES.items() if source in properties}
        return ("$pageview" if call.type == "page" else "$screen"), properties | found | (named if call.name else {})
    if call.type == "identify":
        return "$identify", properties
    if call.type == "alias":
        return "$create_alias", properties
    if call.type == "group":
        if call.group_id in {None, ""}:
            raise LineRefused("a call of type group names no groupId")
        key = str(call.group_id)
        described = {"$group_type": _GROUP_TYPE, "$group_key": key, "$group_set": call.traits or {}}
        return "$groupidentify", properties | described | {"$groups": {_GROUP_TYPE: key}}
    raise LineRefused(f"is a call of an unknown type: {call.type[:40]!r}")


def _of_context(context: Properties) -> Properties:
    page = context.get("page")
    page = page if isinstance(page, dict) else {}
    found = {name: page[source] for source, name in _OF_PAGES.items() if source in page}
    library, address = context.get("library"), context.get("ip")
    if isinstance(library, dict) and isinstance(library.get("name"), str):
        found["$lib"] = library["name"]
    if isinstance(address, str):
        found["$ip"] = address
    campaign = context.get("campaign")
    if isinstance(campaign, dict):
        found |= {f"utm_{'campaign' if name == 'name' else name}": value for name, value in campaign.items()}
    return found


def _text(value: object) -> str | None:
    return None if value in {None, ""} else str(value)
