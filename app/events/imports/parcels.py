"""Batches as bytes, on the way from the process that reads a file to the one that stores it."""

import marshal
from collections import Counter
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.events.capture.decoding.events import CapturedEvent
from app.events.imports.batches import Batch, RefusedLine
from app.events.imports.records import ImportedEvent, PersonRecord
from app.sdk.bounded_structs import Json

_VERSION: Final = 2  # of marshal: later ones look for objects that come twice, which takes longer than it saves
_encode_uuids: Final = msgspec.msgpack.Encoder(uuid_format="bytes").encode
_decode_uuids: Final = msgspec.msgpack.Decoder(list[UUID]).decode

_NO_CHANGES: Final = (UNSET, UNSET, UNSET)  # of the person
_Row: TypeAlias = tuple[object, ...]


def pack(batch: Batch) -> bytes:
    """Return a batch as bytes. Its texts and numbers are of any size; all are of the types that ``marshal`` knows."""
    return marshal.dumps(
        (
            _encode_uuids([one.event.uuid for one in batch.events]),
            [_pack_event(one) for one in batch.events],
            [_pack_person(one) for one in batch.persons],
            [tuple(one) for one in batch.refused],
            batch.lines,
            batch.skipped,
            batch.end,
            batch.share,
            dict(batch.by_day),
            batch.times,
        ),
        _VERSION,
    )


def unpack(parcel: bytes) -> Batch:
    """Return the batch that was packed."""
    uuids, events, persons, refused, lines, skipped, end, share, by_day, times = marshal.loads(parcel)  # noqa: S302  # what ``pack`` has made
    return Batch(
        [_unpack_event(uuid, row) for uuid, row in zip(_decode_uuids(uuids), events, strict=True)],
        [_unpack_person(*row) for row in persons],
        [RefusedLine(*row) for row in refused],
        lines,
        skipped,
        end,
        share,
        Counter(by_day),
        times,
    )


def _pack_event(one: ImportedEvent) -> _Row:
    event = one.event
    return (
        one.person,
        one.anonymous_id,
        event.name,
        event.distinct_id,
        event.time,
        event.received_at,
        event.properties,
        event.alias,
        event.is_merge_forced,
        event.campaign,
        event.sent_origin,
        _pack_changes(event),
        event.person_bytes,
        event.may_change_person,
        event.writes_profile,
        event.is_time_unread,
    )


def _unpack_event(uuid: UUID, row: Any) -> ImportedEvent:  # noqa: ANN401  # what ``_pack_event`` has made
    (
        person,
        anonymous_id,
        name,
        distinct_id,
        time,
        received_at,
        properties,
        alias,
        is_merge_forced,
        campaign,
        sent_origin,
        changes,
        person_bytes,
        may_change_person,
        writes_profile,
        is_time_unread,
    ) = row
    sent_set, sent_set_once, sent_unset = _NO_CHANGES if changes is None else map(_unpack_json, changes)
    event = CapturedEvent(
        uuid,
        name,
        distinct_id,
        time,
        received_at,
        properties,
        alias,
        is_merge_forced,
        campaign,
        sent_origin,
        sent_set,
        sent_set_once,
        sent_unset,
        person_bytes,
        may_change_person,
        None,  # the address of a request
        writes_profile,
        is_time_unread,
    )
    return ImportedEvent(event, person, anonymous_id)


def _pack_person(one: PersonRecord) -> _Row:
    return (
        one.person,
        one.distinct_ids,
        bytes(one.properties),
        one.created_at,
        one.id_version,
        one.version,
        one.is_deleted,
    )


def _unpack_person(person: str, ids: list[str], properties: bytes, *versions: Any) -> PersonRecord:  # noqa: ANN401  # as above
    return PersonRecord(person, ids, Raw(properties), *versions)


def _pack_changes(event: CapturedEvent) -> tuple[bytes | None, ...] | None:
    sent = event.sent_set, event.sent_set_once, event.sent_unset
    return None if sent == _NO_CHANGES else tuple(map(_pack_json, sent))


def _pack_json(sent: Json) -> bytes | None:
    return None if isinstance(sent, UnsetType) else bytes(sent)


def _unpack_json(sent: bytes | None) -> Json:
    return UNSET if sent is None else Raw(sent)
