"""A run of the importer over several files: persons first, then events, each file from where it was left."""

import asyncio
import datetime as dt
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.projects.repository import IngestionProject
from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.db.models import Project
from app.events.capture.decoding.events import CapturedEvent
from app.events.imports.batches import Batch, RefusedLine
from app.events.imports.files import RefusedLines, SourceFile
from app.events.imports.formats import Format
from app.events.imports.lines import STANDARD_INPUT, FileRefused
from app.events.imports.persons import StagedPersons
from app.events.imports.reading import Reading, ReadingProcess
from app.events.imports.records import LineRefused, PersonRecord
from app.events.imports.repository import ImportRepository
from app.events.imports.service import NOTHING, EventImport, ResolvedBatch

MOST_WORKERS: Final = 2  # one reads, and one stores
_MOST_REFUSED: Final = 100_000  # lines of a file: it is then not what it was taken for

Report = Callable[[SourceFile, float | None], None]  # takes the share of the file that was read


@dataclass(frozen=True)
class ImportOptions:
    """How files are read: ``format`` None is told from each file, ``time_offset`` in seconds is for Mixpanel.

    Where requests are served meanwhile, ``batch_events`` are few, so that none waits long. Of refused lines
    at most ``refused_bytes`` are kept. With more than one of ``workers``, files are read by a process of their own.
    """

    format: Format | None = None
    time_offset: int = 0
    is_dry_run: bool = False
    refused_folder: Path | None = None
    refused_bytes: int | None = None
    batch_events: int | None = None
    workers: int = 1


def usual_workers() -> int:
    """Return how many processes an import has where nothing else is asked for: the database needs a processor, too."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable - 1, MOST_WORKERS))


class ImportRun:
    """Imports files into one project.

    ``report`` is called after every batch. ``turn`` is held for each piece of work with the database: imports beside
    each other share it, and take turns.
    """

    def __init__(
        self,
        database: Database,
        project: Project,
        options: ImportOptions,
        report: Report,
        turn: AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        self._database = database
        self._project_id = project.id
        self._events_since = project.events_since
        self.options = options
        self._report = report
        self._turn = turn or nullcontext()
        self._import = EventImport(database, IngestionProject(project.id, project.anonymize_ips))
        self._now = dt.datetime.now(dt.UTC)
        self.refusals: list[str] = []  # of files, of which the rest is not imported

    async def run(self, files: Sequence[SourceFile]) -> None:
        """Import files of events and persons. What cannot be read to its end is named in ``refusals``."""
        with ExitStack() as stack:
            folder = stack.enter_context(TemporaryDirectory(prefix="abacus-import-"))
            staged = stack.enter_context(StagedPersons(Path(folder, "persons.db")))
            persons = [one for one in files if one.recognized.kind == "persons"]
            events = [one for one in files if one.recognized.kind == "events"]
            for file in files:
                stack.callback(file.close)
                await self._prepare(file)
            if all(one.is_complete for one in files):
                return
            for file in persons:
                await self._guarded(file, lambda batch: self._stage(staged, batch))
            await self._store_persons(staged)
            for file in events:
                if not file.is_complete:
                    await self._guarded(file, None)
            if events:  # whose older properties replaced those of the persons
                await self._store_persons(staged)
            for file in persons:
                await self._note(file)

    async def _prepare(self, file: SourceFile) -> None:
        """Find out how far a file was imported before. Persons are few, and read anew until all is done."""
        if self.options.is_dry_run:
            return
        await asyncio.to_thread(file.find_digest)
        if file.sha256 is None:
            return
        async with self._database.read() as session:
            stored = await ImportRepository(session, self._project_id).file(file.sha256)
        if stored is not None and (stored.is_complete or file.recognized.kind == "events"):
            file.position, file.is_complete = stored.position, stored.is_complete
            file.counts = file.counts.read(stored.counts)
            file.lines_before = file.counts.lines

    async def _guarded(self, file: SourceFile, stage: Callable[[Batch], None] | None) -> None:
        try:
            await self._read(file, stage)
        except FileRefused as refusal:
            self.refusals.append(str(refusal))

    async def _read(self, file: SourceFile, stage: Callable[[Batch], None] | None) -> None:
        """Read a file, and store the persons of a batch while the events of the one before it are stored."""
        refused = RefusedLines(file, self.options.refused_folder, self.options.refused_bytes)
        if not self.options.is_dry_run:
            refused.begin()
        if file.recognized.kind == "persons":
            file.counts = type(file.counts)()
        batches, stop = self._batches(file)
        following = asyncio.create_task(asyncio.to_thread(next, batches, None))
        storing: asyncio.Task[None] | None = None
        try:
            while (batch := await asyncio.shield(following)) is not None:  # no thread is left behind
                following = asyncio.create_task(asyncio.to_thread(next, batches, None))
                resolved = NOTHING
                if stage is None and not self.options.is_dry_run:
                    async with self._turn:
                        resolved = await self._import.resolve(batch.events)
                if storing is not None:
                    await storing
                storing = asyncio.create_task(self._take(file, batch, resolved, refused, stage))
        finally:
            stop()
            await asyncio.wait([following] if storing is None else [following, storing])
            if not following.cancelled():
                following.exception()  # which is not of interest where something else failed
            batches.close()
            if storing is not None:
                storing.result()
        file.is_complete = True
        if stage is None:
            await self._note(file)
        self._report(file, 1.0)

    def _batches(self, file: SourceFile) -> tuple[Generator[Batch, None, None], Callable[[], None]]:
        """Return the batches of a file, and what ends a process that reads them."""
        reading = Reading(
            name=file.name,
            position=file.position,
            format=file.recognized.format,
            kind=file.recognized.kind,
            now=self._now,
            time_offset=self.options.time_offset,
            events_since=self._events_since,
            most=self.options.batch_events,
        )
        if self.options.workers > 1 and file.name != STANDARD_INPUT:
            process = ReadingProcess(reading)
            return process.batches(), process.stop
        return reading.batches(file.lines(), file.share), lambda: None

    async def _take(
        self,
        file: SourceFile,
        batch: Batch,
        resolved: ResolvedBatch,
        refused: RefusedLines,
        stage: Callable[[Batch], None] | None,
    ) -> None:
        counts = file.counts
        counts.lines += batch.lines
        counts.skipped += batch.skipped
        counts.refused += len(batch.refused)
        counts.add_events(batch.by_day)
        if batch.times is not None:
            counts.add_times(*batch.times)
        file.position = batch.end
        if not self.options.is_dry_run:
            refused.add(batch.refused)
            if stage is None:
                await self._store(file, batch, resolved, refused)
            else:
                await asyncio.to_thread(stage, batch)
                counts.imported += len(batch.persons)
        self._report(file, batch.share)
        if counts.refused > _MOST_REFUSED:
            raise FileRefused(f"{file.name}: more than {_MOST_REFUSED:,} lines were refused; see {refused.path}")

    async def _store(self, file: SourceFile, batch: Batch, resolved: ResolvedBatch, refused: RefusedLines) -> None:
        counts = file.counts
        before = counts.imported, counts.duplicates

        async def finish(session: AsyncSession, stored: int) -> None:
            counts.imported, counts.duplicates = before[0] + stored, before[1] + len(batch.events) - stored
            await self._note_in(session, file)

        async with self._turn:
            unstorable = await self._import.store(resolved, finish)
        if unstorable:
            counts.duplicates -= len(unstorable)
            counts.refused += len(unstorable)
            refused.add([_unstorable(event, reason, batch.end) for event, reason in unstorable])

    @staticmethod
    def _stage(staged: StagedPersons, batch: Batch) -> None:
        staged.add(batch.persons)

    async def _store_persons(self, staged: StagedPersons) -> None:
        if staged.is_empty or self.options.is_dry_run:
            return
        batches: Iterator[list[PersonRecord]] = staged.batches()
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            async with self._turn:
                await self._import.store_persons(batch, to_microseconds(self._now))

    async def _note(self, file: SourceFile) -> None:
        if file.is_complete and not self.options.is_dry_run:
            async with self._database.write(owner=self._project_id) as session:
                await self._note_in(session, file)

    async def _note_in(self, session: AsyncSession, file: SourceFile) -> None:
        if file.sha256 is not None:
            await ImportRepository(session, self._project_id).note(
                file.sha256, file.name, file.position, file.counts.write(), is_complete=file.is_complete
            )


def _unstorable(event: CapturedEvent, reason: str, end: int) -> RefusedLine:
    return RefusedLine("", 0, end, reason, f"{event.uuid} {event.name}"[:1_000])


__all__ = ["FileRefused", "ImportOptions", "ImportRun", "LineRefused"]
