"""Abacus' own export: every line says by ``abacus`` what it is. In Parquet properties are texts of JSON."""

from typing import Final

import msgspec
from msgspec import Raw

from app.events.capture.decoding.wire import WireEvent
from app.events.imports.formats.posthog import as_object
from app.events.imports.records import EventRecord, LineRefused, PersonRecord
from app.sdk.bounded_structs import BoundedDecoder, Scalar


class _Event(WireEvent):
    person_id: Scalar = None
    received_at: Scalar = None


class _Person(msgspec.Struct):
    person_id: str
    distinct_ids: list[str]
    properties: Raw
    created_at: str


_events: Final = BoundedDecoder(_Event)
_decode_person: Final = msgspec.json.Decoder(_Person).decode


def read_event(line: bytes) -> EventRecord:
    event = _events.decode(line)
    event.properties = as_object(event.properties)
    return EventRecord(event, event.received_at, None if event.person_id is None else str(event.person_id))


def read_person(line: bytes) -> PersonRecord:
    person = _decode_person(line)
    if not person.distinct_ids:
        raise LineRefused("names no distinct id")
    properties = as_object(person.properties)
    known = Raw(b"{}") if isinstance(properties, msgspec.UnsetType) else properties
    return PersonRecord(person.person_id, person.distinct_ids, known, person.created_at)
