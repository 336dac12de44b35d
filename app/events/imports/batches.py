"""Cuts the lines of a file into batches, each stored in a transaction of its own."""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from app.common import limits
from app.common.timestamps import from_microseconds
from app.events.imports.lines import Line
from app.events.imports.records import ImportedEvent, LineRefused, PersonRecord

BATCH_EVENTS: Final = 10_000
BATCH_BYTES: Final = 8 * 1024 * 1024
_BATCH_MERGES: Final = 1_000
_BATCH_LINES: Final = 50_000
_DAY: Final = 86_400_000_000  # in microseconds
_SHOWN_CHARACTERS: Final = 1_000

ReadRecord: TypeAlias = Callable[[bytes], ImportedEvent | PersonRecord | None]


class RefusedLine(NamedTuple):
    """A line that is not imported, with its first characters."""

    member: str
    line: int
    end: int
    reason: str
    text: str


@dataclass
class Batch:
    """What some lines of a file say. ``end`` is the offset of the line after them, and ``place`` where they end."""

    events: list[ImportedEvent] = field(default_factory=list)
    persons: list[PersonRecord] = field(default_factory=list)
    refused: list[RefusedLine] = field(default_factory=list)
    lines: int = 0
    skipped: int = 0
    end: int = 0
    share: float | None = None  # of the file that was read
    by_day: Counter[tuple[str, str]] = field(default_factory=Counter)  # the events of each name and day, in UTC
    times: tuple[int, int] | None = None  # of the earliest and the latest event, in microseconds since 1970 UTC


def read_batches(
    lines: Iterator[Line], read: ReadRecord, share: Callable[[], float | None], most: int | None = None
) -> Generator[Batch, None, None]:
    """Yield batches of at most ``most`` events, by default ``BATCH_EVENTS``."""
    most = most or BATCH_EVENTS
    batch = Batch()
    size = merges = 0
    for line in lines:
        batch.lines += 1
        batch.end = line.end
        try:
            record = read(_content(line))
        except LineRefused as refusal:
            batch.refused.append(refused_line(line, str(refusal)))
            record = None
        else:
            batch.skipped += record is None
        if isinstance(record, ImportedEvent):
            batch.events.append(record)
            size += len(record.event.properties)
            merges += record.event.alias is not None or record.anonymous_id is not None
        elif record is not None:
            batch.persons.append(record)
            size += len(record.properties)
        count = len(batch.events) + len(batch.persons)
        if count >= most or size > BATCH_BYTES or merges >= _BATCH_MERGES or batch.lines >= _BATCH_LINES:
            batch.share = share()
            yield _counted(batch)
            batch = Batch()
            size = merges = 0
    if batch.lines:
        yield _counted(batch)


def _content(line: Line) -> bytes:
    if line.text is None:
        raise LineRefused(limits.IMPORTED_LINE_BYTES.detail)
    return line.text


def refused_line(line: Line, reason: str) -> RefusedLine:
    """Return a line, shortened, with the reason why it is not imported."""
    shown = (line.text or b"")[: 4 * _SHOWN_CHARACTERS].decode("utf-8", "replace")[:_SHOWN_CHARACTERS]
    return RefusedLine(line.member, line.number, line.end, reason, shown)


def _counted(batch: Batch) -> Batch:
    if batch.events:
        times = [one.event.time for one in batch.events]
        batch.times = min(times), max(times)
        batch.by_day = _count_by_day(batch.events)
    return batch


def _count_by_day(events: list[ImportedEvent]) -> Counter[tuple[str, str]]:
    days = Counter((one.event.name, one.event.time // _DAY) for one in events)
    return Counter({(name, f"{from_microseconds(day * _DAY):%Y-%m-%d}"): days[name, day] for name, day in days})
