"""The background tasks that import uploaded files, in turn with requests."""

import asyncio
import contextlib
import datetime as dt
import logging
import time
from collections.abc import Iterator
from typing import Final, cast

from app.accounts.projects.repository import AccountRepository
from app.common import limits
from app.db.database import Database
from app.db.errors import DATABASE_ERRORS, describe, is_transient_database_error
from app.db.models import FileImport, Project, utc_now
from app.events.imports.files import SourceFile
from app.events.imports.formats import Format
from app.events.imports.lines import FileRefused
from app.events.imports.run import MOST_WORKERS, ImportOptions, ImportRun
from app.operations.imports.progress import write_progress
from app.operations.imports.repository import FileImportRepository, Status, running_imports
from app.operations.imports.uploads import Uploads

_SECONDS_BETWEEN_LOOKS: Final = 30.0  # for imports of processes that have ended
_SECONDS_BETWEEN_NOTES: Final = 1.0
_GRACE: Final = dt.timedelta(minutes=5)  # a file may be on the disk of another host
_BATCH_EVENTS: Final = 1_000  # the event loop is held for a few milliseconds
_LARGE_BYTES: Final = 64 * 1024  # most smaller files are read in less than the 0.2 s that a process takes to start

logger = logging.getLogger("abacus")


def open_upload(uploads: Uploads, stored_as: str, name: str, source: str) -> SourceFile:
    """Return an uploaded file of events or persons.

    Raises
    ------
    FileRefused
        It names the file as the client does.
    """
    path = str(uploads.path(stored_as))
    try:
        file = SourceFile(path, None if source == "auto" else cast("Format", source))
    except FileRefused as refusal:
        raise FileRefused(str(refusal).replace(path, name)) from refusal
    if file.recognized.kind not in {"events", "persons"}:
        file.close()
        raise FileRefused(f"{name}: holds {file.recognized.kind}, which only `abacus import` takes")
    return file


def _report(what: str, error: Exception) -> None:
    if is_transient_database_error(error):  # which requests and /_readyz report, too
        logger.warning("%s waits for the database: %s", what, describe(error))
    else:
        logger.exception("%s failed; again in %s s", what, _SECONDS_BETWEEN_LOOKS)


class ImportRunner:
    """Runs the imports that are not finished, those of this process and those that an earlier one has left."""

    def __init__(self, database: Database, uploads: Uploads) -> None:
        self._database = database
        self.uploads = uploads
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._uploading: set[int] = set()
        # First come, first served: projects take turns, and a small file is not behind a large one.
        self._turns = asyncio.Semaphore(limits.IMPORTED_BATCHES.value)

    @contextlib.contextmanager
    def uploading(self, project_id: int) -> Iterator[bool]:
        """Tell whether no other upload of a project is under way, and keep others out."""
        if project_id in self._uploading:
            yield False
            return
        self._uploading.add(project_id)
        try:
            yield True
        finally:
            self._uploading.discard(project_id)

    async def run(self) -> None:
        """Look for imports to go on with, until cancelled."""
        while True:
            try:
                await self.resume()
            except Exception as error:
                _report("looking for imports", error)
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    async def close(self) -> None:
        """Leave what is under way to the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def resume(self) -> None:
        """Start what is to go on and is not under way here; another process keeps what it has claimed.

        What is left of abandoned uploads is removed.
        """
        await asyncio.to_thread(self.uploads.remove_abandoned)
        async with self._database.read() as session:
            found = await running_imports(session)
        for project_id, import_id in found:
            self.start(project_id, import_id)

    def start(self, project_id: int, import_id: int) -> None:
        if import_id not in self._tasks:
            task = self._tasks[import_id] = asyncio.create_task(self._work(project_id, import_id))
            task.add_done_callback(lambda _: self._tasks.pop(import_id, None))

    def stop(self, import_id: int) -> None:
        """Stop an import that runs here. One in another process stops when it next notes its progress."""
        if task := self._tasks.get(import_id):
            task.cancel()

    async def wait(self) -> None:
        """Return when nothing is under way."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def _work(self, project_id: int, import_id: int) -> None:
        try:
            async with self._database.read() as session:
                one = await FileImportRepository(session, project_id).find(import_id)
                project = await AccountRepository(session).find_project(project_id)
            if one is not None and project is not None:
                await self._go_on(project, one)
        except DATABASE_ERRORS as error:  # it goes on when the next look finds it
            _report(f"import {import_id} of project {project_id}", error)

    async def _go_on(self, project: Project, one: FileImport) -> None:
        try:
            with self.uploads.claim(one.stored_as) as is_ours:
                if is_ours:
                    await self._import(project, one)
        except FileNotFoundError:
            if one.updated_at < utc_now() - _GRACE:
                await self._finish(one, "failed", "The uploaded file is gone.")
        except DATABASE_ERRORS:
            raise
        except Exception as error:
            logger.exception("import %d of project %d failed", one.id, project.id)
            await self._finish(one, "failed", f"The import failed: {type(error).__name__}.")

    async def _import(self, project: Project, one: FileImport) -> None:
        try:
            file = await asyncio.to_thread(open_upload, self.uploads, one.stored_as, one.name, one.source)
        except FileRefused as refusal:
            await self._finish(one, "failed", str(refusal))
            return
        shares: list[float | None] = [None, None]  # of the file that was read: at first, and by now
        began = time.monotonic()

        def report(_file: SourceFile, share: float | None) -> None:
            shares[:] = [share if shares[0] is None else shares[0], share]

        options = ImportOptions(
            format=file.recognized.format,
            time_offset=one.time_offset,
            refused_folder=self.uploads.directory,
            refused_bytes=limits.REFUSED_LINES_BYTES.value,
            batch_events=_BATCH_EVENTS,
            # What is read must not hold the interpreter that answers requests. A process takes 60 MB; one has it.
            workers=MOST_WORKERS if len(self._tasks) == 1 and self.uploads.size(one.stored_as) >= _LARGE_BYTES else 1,
        )
        run = ImportRun(self._database, project, options, report, self._turns)
        running = asyncio.create_task(run.run([file]))
        try:
            is_wanted = True
            while is_wanted and not running.done():
                await asyncio.wait([running], timeout=_SECONDS_BETWEEN_NOTES)
                progress = write_progress(file, one.name, shares, time.monotonic() - began)
                async with self._database.write() as session:
                    repository = FileImportRepository(session, project.id)
                    is_wanted = await repository.advance(one.id, progress=progress)
            if not is_wanted:  # it was cancelled, or its project deleted
                self.uploads.remove(one.stored_as)
                return
            await running
            detail = "; ".join(run.refusals).replace(file.name, one.name)
            await self._finish(one, "failed" if detail else "completed", detail)
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def _finish(self, one: FileImport, status: Status, detail: str) -> None:
        async with self._database.write() as session:
            await FileImportRepository(session, one.project_id).advance(one.id, status=status, detail=detail)
        self.uploads.remove(one.stored_as)
