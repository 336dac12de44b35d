"""The files of an import: what each holds, how far it was read, and which of its lines were refused."""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.events.imports.batches import RefusedLine
from app.events.imports.formats import Format, Recognized, recognize
from app.events.imports.lines import STANDARD_INPUT, FileRefused, Line, LineReader

_TRIED_LINES: Final = 20
_MOST_DAYS: Final = 5_000  # events by day that are counted apart in one file
_OTHERS: Final = ("(others)", "")
MANIFEST: Final = "manifest.json"


@dataclass
class FileCounts:
    """What became of the lines of a file. ``events`` counts new and known ones by name and day, in UTC.

    ``first`` and ``last`` are the times of the earliest and the latest event, in microseconds since 1970 UTC.
    """

    lines: int = 0
    imported: int = 0
    duplicates: int = 0
    skipped: int = 0
    refused: int = 0
    first: int | None = None
    last: int | None = None
    events: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add_times(self, first: int, last: int) -> None:
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def add_events(self, events: Mapping[tuple[str, str], int]) -> None:
        for key, count in events.items():
            self.events[key if key in self.events or len(self.events) < _MOST_DAYS else _OTHERS] += count

    def write(self) -> str:
        events = [[name, day, count] for (name, day), count in self.events.items()]
        return json.dumps({**vars(self), "events": events}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> "FileCounts":
        told = json.loads(text)
        events = Counter({(name, day): count for name, day, count in told.pop("events", [])})
        return cls(**told, events=events)


class SourceFile:
    """A file that was recognized. The standard input is read once, so it stays open."""

    def __init__(self, name: str, chosen: Format | None) -> None:
        self.name = name
        self.counts = FileCounts()
        self.position = 0
        self.lines_before = 0  # of an earlier run
        self.is_complete = False
        self.sha256: str | None = None
        reader = LineReader(name)
        first = list(itertools.islice(reader, _TRIED_LINES))
        found = next((kind for line in first if (kind := recognize(line.text or b"", chosen)) is not None), None)
        if found is None:
            first_line = f"line {first[0].number}: " if first else ""
            what = f"is not of the format {chosen}" if chosen else "is of no format that is known; name it by --format"
            raise FileRefused(f"{name}: {first_line}{what if first else 'holds no lines'}")
        self.recognized: Recognized = found
        if name == STANDARD_INPUT:
            self._reader, self._first = reader, first
        else:
            reader.close()
            self._reader, self._first = LineReader(name), []

    def find_digest(self) -> None:
        """Compute by what the content is known; nothing else tells that a file was imported before."""
        if self.name != STANDARD_INPUT:
            with Path(self.name).open("rb") as source:
                self.sha256 = hashlib.file_digest(source, "sha256").hexdigest()

    def lines(self) -> Iterator[Line]:
        """Return the lines after those that were imported already."""
        self._reader.skip_to(self.position)
        return itertools.chain(self._first, self._reader)

    def share(self) -> float | None:
        return self._reader.share()

    def close(self) -> None:
        self._reader.close()


class RefusedLines:
    """The file beside a source to which its refused lines go, with the reasons."""

    def __init__(self, source: SourceFile, folder: Path | None, most_bytes: int | None = None) -> None:
        name = "stdin" if source.name == STANDARD_INPUT else Path(source.name).name
        beside = Path() if source.name == STANDARD_INPUT else Path(source.name).parent
        self.path = (folder or beside) / f"{name}.refused.ndjson"
        self._after = source.position
        self._most_bytes = most_bytes

    def begin(self) -> None:
        """Keep the lines of an earlier run that are not read again; without any there is no file."""
        kept = []
        if self._after and self.path.exists():
            with self.path.open(encoding="utf-8") as before:
                kept = [line for line in before if json.loads(line)["end"] <= self._after]
        if kept:
            self.path.write_text("".join(kept), encoding="utf-8")
        else:
            self.path.unlink(missing_ok=True)

    def add(self, lines: Sequence[RefusedLine]) -> None:
        """Add lines, as long as there is room."""
        if not lines:
            return
        with self.path.open("ab") as target:
            for line in lines:
                written = json.dumps(line._asdict(), ensure_ascii=False).encode() + b"\n"
                if self._most_bytes is not None and target.tell() + len(written) > self._most_bytes:
                    return
                target.write(written)
