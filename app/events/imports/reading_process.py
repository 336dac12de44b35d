"""Reads a large file in a process of its own, so that decoding and the database do not wait for each other."""

import gc
import multiprocessing
import pickle
from collections.abc import Generator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Final, TypeAlias
from uuid import UUID

from msgspec import UNSET, Raw, UnsetType

from app.events.capture.decoding.clock import RequestClock
from app.events.capture.decoding.events import CapturedEvent
from app.events.imports.batches import Batch, read_batches
from app.events.imports.formats import Recognized
from app.events.imports.lines import FileRefused, LineReader
from app.events.imports.records import EventReader, ImportedEvent
from app.sdk.bounded_structs import Json

_PROCESSES: Final = multiprocessing.get_context("spawn")  # the parent has threads and connections
_COLLECTED_OBJECTS: Final = 100_000
_COLUMNS: Final = (
    "name",
    "distinct_id",
    "time",
    "received_at",
    "properties",
    "alias",
    "is_merge_forced",
    "campaign",
    "origin",
    "person_bytes",
    "may_change_person",
    "writes_profile",
)
_Row: TypeAlias = tuple[Any, ...]  # the fields of an event, by position


@dataclass(frozen=True)
class Reading:
    """What a process is to read: a file of events after an offset, and how."""

    name: str
    position: int
    recognized: Recognized
    time_offset: int
    clock: RequestClock
    events_since: int

    def reader(self) -> EventReader:
        read_line = self.recognized.reader(self.time_offset)
        return EventReader(read_line, self.clock, self.events_since, marks=self.recognized.format != "abacus")


def read_apart(reading: Reading) -> Generator[Batch, None, None]:
    """Yield the batches of a file that another process reads, which is always one batch ahead.

    Raises
    ------
    FileRefused
    """
    receiver, sender = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_read, args=(reading, sender), daemon=True)
    process.start()
    sender.close()
    try:
        while True:
            kind, content = pickle.loads(receiver.recv_bytes())  # noqa: S301  # from our own process
            if kind == "end":
                return
            if kind == "refused":
                raise FileRefused(content)
            batch, rows = content
            yield replace(batch, events=[_event(row) for row in rows])
    except EOFError as error:
        raise RuntimeError(f"the process that reads {reading.name} ended before the file did") from error
    finally:
        receiver.close()
        process.terminate()
        process.join()


def _read(reading: Reading, sender: Connection) -> None:
    gc.set_threshold(_COLLECTED_OBJECTS)
    lines = LineReader(reading.name)
    lines.skip_to(reading.position)
    try:
        for batch in read_batches(iter(lines), reading.reader().read, lines.share):
            rows = [_row(one) for one in batch.events]
            _send(sender, "batch", (replace(batch, events=[]), rows))
    except FileRefused as refusal:
        _send(sender, "refused", str(refusal))
    else:
        _send(sender, "end", None)


def _send(sender: Connection, kind: str, content: object) -> None:
    sender.send_bytes(pickle.dumps((kind, content), protocol=pickle.HIGHEST_PROTOCOL))


def _row(one: ImportedEvent) -> _Row:
    """Return an event as values that are packed quickly. Visitors without cookies are not told apart in an import."""
    event = one.event
    documents = (_bytes(event.sent_set), _bytes(event.sent_set_once), _bytes(event.sent_unset))
    values = [getattr(event, name) for name in _COLUMNS]
    return (one.person, one.anonymous_id, event.uuid.bytes, *documents, *values)


def _event(row: _Row) -> ImportedEvent:
    person, anonymous_id, uuid, sent_set, sent_set_once, sent_unset, *values = row
    event = CapturedEvent(
        uuid=UUID(bytes=uuid),
        sent_set=_raw(sent_set),
        sent_set_once=_raw(sent_set_once),
        sent_unset=_raw(sent_unset),
        address=None,
        **dict(zip(_COLUMNS, values, strict=True)),
    )
    return ImportedEvent(event, person, anonymous_id)


def _bytes(document: Json) -> bytes | None:
    return None if isinstance(document, UnsetType) else bytes(document)


def _raw(document: bytes | None) -> Json:
    return UNSET if document is None else Raw(document)
