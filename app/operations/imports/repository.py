"""Imports of uploaded files in the database."""

from collections.abc import Sequence
from typing import Any, Final, Literal, cast

from sqlalchemy import CursorResult, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from app.db.advisory_locks import ProjectLock, lock_project
from app.db.models import FileImport, utc_now
from app.db.sizes import fitting_limit

Status = Literal["running", "completed", "failed", "cancelled"]
RUNNING: Final = "running"


async def running_imports(session: AsyncSession) -> Sequence[tuple[int, int]]:
    """Return the project and the id of every import that is to go on."""
    rows = await session.execute(
        select(FileImport.project_id, FileImport.id).where(FileImport.status == RUNNING).order_by(FileImport.id)
    )
    return [(project_id, import_id) for project_id, import_id in rows]


class FileImportRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def lock(self) -> None:
        """Wait until no other transaction adds an import to the project."""
        await lock_project(self._session, ProjectLock.FILE_IMPORTS, self._project_id)

    async def is_one_running(self) -> bool:
        query = select(FileImport.id).where(FileImport.project_id == self._project_id, FileImport.status == RUNNING)
        return await self._session.scalar(query.limit(1)) is not None

    async def add(self, one: FileImport) -> None:
        self._session.add(one)
        await self._session.flush()

    async def find(self, import_id: int) -> FileImport | None:
        query = select(FileImport).where(FileImport.project_id == self._project_id, FileImport.id == import_id)
        return await self._session.scalar(query)

    async def page(self, limit: int, offset: int) -> tuple[int, Sequence[FileImport]]:
        """Return the number of imports, and some of them, newest first: fewer than ``limit`` where they are large."""
        of_project = FileImport.project_id == self._project_id
        count = await self._session.scalar(select(func.count()).where(of_project)) or 0
        query = select(FileImport).where(of_project).order_by(FileImport.id.desc())
        limit = await fitting_limit(self._session, query, (FileImport.progress,), limit, offset)
        return count, (await self._session.scalars(query.limit(limit).offset(offset))).all()

    async def oldest_beyond(self, most: int) -> Sequence[FileImport]:
        """Return all imports but some, the newest."""
        query = select(FileImport).where(FileImport.project_id == self._project_id).options(defer(FileImport.progress))
        return (await self._session.scalars(query.order_by(FileImport.id.desc()).offset(most))).all()

    async def advance(self, import_id: int, **values: str) -> bool:
        """Change an import that is running; return whether it still is."""
        result = await self._session.execute(
            update(FileImport)
            .where(FileImport.project_id == self._project_id, FileImport.id == import_id, FileImport.status == RUNNING)
            .values(**values, updated_at=utc_now()),
            execution_options={"synchronize_session": False},
        )
        return cast("CursorResult[Any]", result).rowcount > 0

    async def remove(self, one: FileImport) -> None:
        await self._session.delete(one)
