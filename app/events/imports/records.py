"""What a line of a file says: an event, a person, or nothing that is stored."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias
from uuid import UUID, uuid5

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import force_setattr

from app.common.errors import AppError
from app.common.json_repair import is_utf8
from app.common.json_text import append_members
from app.events.capture.decoding.clock import RequestClock, read_time
from app.events.capture.decoding.events import CapturedEvent, read_event
from app.events.capture.decoding.visitors import Sender
from app.events.capture.decoding.wire import WireEvent
from app.people.persons.origin import NO_ORIGIN
from app.sdk.bounded_structs import FieldTooLargeError, Scalar

_NAMESPACE: Final = UUID("1a7d1f6e-6d0b-5c6e-9b0f-2f5a1c9e7d43")
_NOWHERE: Final = Sender()
_MARK: Final = '"historical_migration":true'
_decode_any: Any = msgspec.json.Decoder().decode  # any JSON
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class LineRefused(ValueError):
    """A line that is not imported: says why."""


class EventRecord(msgspec.Struct):
    """An event as the source has it.

    Attributes
    ----------
    received_at : str, number or None
        When the source received it.
    person : str or None
        The source's id of the person, under which the distinct ids of one person come together.
    anonymous_id : str or None
        A distinct id that the person had before, where the source says so with each event.
    """

    event: WireEvent
    received_at: Scalar = None
    person: str | None = None
    anonymous_id: str | None = None


class PersonRecord(msgspec.Struct):
    """A distinct id, or several, of a person; of several records of one the highest version holds."""

    person: str
    distinct_ids: list[str]
    properties: Raw
    created_at: Scalar = None
    id_version: int = 0
    version: int = 0
    is_deleted: bool = False


# Why a line has no record: it is one that Abacus does not store, and its source says so.
Skipped: TypeAlias = None
Record: TypeAlias = EventRecord | PersonRecord | Skipped
ReadLine: TypeAlias = Callable[[bytes], Record]


class ImportedEvent(msgspec.Struct, frozen=True):
    """An event ready to be stored, and what its source says of the person."""

    event: CapturedEvent
    person: str | None
    anonymous_id: str | None


def named_uuid(*parts: object) -> str:
    """Return a uuid that is always the same for the same values."""
    return str(uuid5(_NAMESPACE, "\0".join(map(str, parts))))


def canonical_uuid(line: bytes) -> str:
    """Return a uuid that is always the same for the same JSON, in whatever order its members are."""
    return str(uuid5(_NAMESPACE, _encode(_decode_any(line)).decode()))


class EventReader:
    """Makes events of lines. Nothing of it is corrected: times are the source's, however far ahead."""

    def __init__(self, read_line: ReadLine, clock: RequestClock, events_since: int, *, marks: bool) -> None:
        self._read_line = read_line
        self._clock = clock
        self._events_since = events_since
        self._mark = _MARK if marks else ""

    def read(self, line: bytes) -> ImportedEvent | PersonRecord | None:
        """Return what a line says.

        Raises
        ------
        LineRefused
        """
        if not is_utf8(line):
            raise LineRefused("is not UTF-8")
        try:
            record = self._read_line(line)
            return self._event(line, record) if isinstance(record, EventRecord) else record
        except LineRefused:
            raise
        except msgspec.ValidationError as error:
            raise LineRefused(f"is not what the format holds: {error}") from error
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise LineRefused(f"is not JSON: {error}") from error
        except FieldTooLargeError as error:
            raise LineRefused(f"{error.field}: {error}") from error
        except AppError as error:
            raise LineRefused(error.detail) from error

    def _event(self, line: bytes, record: EventRecord) -> ImportedEvent | None:
        sent = record.event
        if sent.event is not UNSET and not sent.event:
            raise LineRefused("names no event")
        if sent.timestamp is None or sent.timestamp == "":
            raise LineRefused("states no time")
        if not sent.uuid:
            sent.uuid = canonical_uuid(line)
        event = read_event(sent, self._clock, _NOWHERE)
        if event is None:
            return None
        if event.is_time_unread:
            raise LineRefused(f"states a time that cannot be read: {str(sent.timestamp)[:60]!r}")
        if event.time < self._events_since:
            raise LineRefused("happened before the time up to which events of the project were removed")
        received = None if record.received_at is None else read_time(record.received_at)
        # The event is this function's own until it is returned, and a copy would take as long as making it.
        if received is not None:
            force_setattr(event, "received_at", received)
        if self._mark:
            force_setattr(event, "properties", append_members(event.properties, self._mark))
        return ImportedEvent(event, record.person or None, record.anonymous_id or None)


def link(distinct_id: str, other: str, time: int, *, is_forced: bool) -> CapturedEvent:
    """Return an event that joins the persons of two distinct ids, and is not stored itself."""
    return identity(distinct_id, time, alias=other, is_forced=is_forced)


def identity(
    distinct_id: str,
    time: int,
    *,
    alias: str | None = None,
    is_forced: bool = False,
    properties: Raw | None = None,
) -> CapturedEvent:
    """Return an event that says something of a person, and is not stored itself."""
    return CapturedEvent(
        uuid=uuid5(_NAMESPACE, distinct_id),
        name="$identify",
        distinct_id=distinct_id,
        time=time,
        received_at=time,
        properties="{}",
        alias=alias,
        is_merge_forced=is_forced,
        campaign={},
        sent_origin=NO_ORIGIN,
        sent_set=UNSET if properties is None else properties,
        sent_set_once=UNSET,
        sent_unset=UNSET,
        person_bytes=0 if properties is None else len(properties),
        may_change_person=properties is not None,
        address=None,
    )
