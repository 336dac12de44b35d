"""Takes uploads, one at a time for each project, and shows and cancels imports."""

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from sqlalchemy.ext.asyncio import AsyncSession

from app.common import limits
from app.common.errors import NotFound, Unavailable, ValidationFailed
from app.common.ids import read_id
from app.db.database import Database
from app.db.models import FileImport, utc_now
from app.events.imports.lines import FileRefused
from app.operations.imports.repository import RUNNING, FileImportRepository
from app.operations.imports.runner import ImportRunner, open_upload

_LONGEST_NAME: Final = 400
_UNDER_WAY: Final = "An import of this project is under way: wait for it, or cancel it."


Keep: TypeAlias = Callable[[AsyncSession, FileImport], Awaitable[None]]


async def keep_nothing(_session: AsyncSession, _one: FileImport) -> None:
    """Keep no answer."""


class FileImportService:
    """Bound to one project. It opens short transactions of its own, because an upload takes long."""

    def __init__(self, database: Database, runner: ImportRunner, project_id: int) -> None:
        self._database = database
        self._runner = runner
        self._project_id = project_id

    async def upload(
        self, pieces: AsyncIterator[bytes], name: str, source: str, time_offset: int, keep: Keep = keep_nothing
    ) -> FileImport:
        """Store a file, and begin to import it. ``keep`` is called in the transaction that adds the import.

        Raises
        ------
        ValidationFailed
            The file is not of a known format, or an import is under way.
        Unavailable
            The file cannot be stored.
        """
        with self._runner.uploading(self._project_id) as is_first:
            if not is_first or await self._is_one_running():
                raise ValidationFailed(_UNDER_WAY, code="import_under_way")
            return await self._upload(pieces, name[-_LONGEST_NAME:], source, time_offset, keep)

    async def _upload(
        self, pieces: AsyncIterator[bytes], name: str, source: str, time_offset: int, keep: Keep
    ) -> FileImport:
        uploads = self._runner.uploads
        try:
            stored_as = await uploads.keep(pieces)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise Unavailable(limits.FREE_DISK_BYTES.detail, retry_after=60) from error
            raise Unavailable("The file cannot be stored: the disk of the service refuses it.") from error
        try:
            (await asyncio.to_thread(open_upload, uploads, stored_as, name, source)).close()
            one = FileImport(
                project_id=self._project_id,
                name=name,
                stored_as=stored_as,
                source=source,
                time_offset=time_offset,
                status=RUNNING,
            )
            async with self._database.write() as session:
                imports = FileImportRepository(session, self._project_id)
                await imports.lock()
                if await imports.is_one_running():
                    raise ValidationFailed(_UNDER_WAY, code="import_under_way")
                forgotten = await imports.oldest_beyond(limits.FILE_IMPORTS.value - 1)
                for old in forgotten:
                    await imports.remove(old)
                await imports.add(one)
                await keep(session, one)
        except FileRefused as refusal:
            uploads.remove(stored_as)
            raise ValidationFailed(str(refusal), code="unreadable_file") from refusal
        except BaseException:
            uploads.remove(stored_as)
            raise
        for old in forgotten:
            uploads.remove_all(old.stored_as)
        self._runner.start(self._project_id, one.id)
        return one

    async def _is_one_running(self) -> bool:
        async with self._database.read() as session:
            return await FileImportRepository(session, self._project_id).is_one_running()

    async def page(self, limit: int, offset: int) -> tuple[int, Sequence[FileImport]]:
        async with self._database.read() as session:
            return await FileImportRepository(session, self._project_id).page(limit, offset)

    async def get(self, reference: str) -> FileImport:
        """Return the import that a path names; ``NotFound`` otherwise."""
        async with self._database.read() as session:
            return await _find(FileImportRepository(session, self._project_id), reference)

    async def refused_lines(self, reference: str) -> Path | None:
        """Return the file of refused lines; None where none was refused."""
        path = self._runner.uploads.refused_lines((await self.get(reference)).stored_as)
        return path if path.exists() else None

    async def cancel(self, reference: str) -> None:
        """Cancel an import that is running; what it stored stays. Of another one remove what is remembered."""
        async with self._database.write() as session:
            imports = FileImportRepository(session, self._project_id)
            one = await _find(imports, reference)
            is_running = one.status == RUNNING
            if is_running:
                one.status, one.updated_at = "cancelled", utc_now()
            else:
                await imports.remove(one)
        if is_running:
            self._runner.stop(one.id)
            self._runner.uploads.remove(one.stored_as)
        else:
            self._runner.uploads.remove_all(one.stored_as)


async def _find(imports: FileImportRepository, reference: str) -> FileImport:
    import_id = read_id(reference)
    one = await imports.find(import_id) if import_id else None
    if one is None:
        raise NotFound
    return one
