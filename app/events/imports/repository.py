"""How far files were imported, and the persons of their sources, in the database."""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Integer, Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.advisory_locks import ProjectLock, lock_project
from app.db.bulk import chunks, insert_missing_rows
from app.db.compiled_queries import fetch_within, is_among
from app.db.models import ImportedFile, ImportedPerson, utc_now
from app.db.upserts import insert_or_update

_LONGEST_ID: Final = 200
_LONGEST_NAME: Final = 400


def _persons_query(dialect_name: str) -> Select[str, str]:
    return select(ImportedPerson.source_id, ImportedPerson.distinct_id).where(
        ImportedPerson.project_id == bindparam("project_id", type_=Integer),
        is_among(ImportedPerson.source_id, "source_ids", dialect_name),
    )


_QUERIES: Final = {name: _persons_query(name) for name in ("postgresql", "sqlite")}


class ImportRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def file(self, sha256: str) -> ImportedFile | None:
        query = select(ImportedFile).where(ImportedFile.project_id == self._project_id, ImportedFile.sha256 == sha256)
        return await self._session.scalar(query)

    async def note(self, sha256: str, name: str, position: int, counts: str, *, is_complete: bool) -> None:
        """Remember how far a file was read."""
        await insert_or_update(
            self._session,
            ImportedFile,
            {ImportedFile.project_id: self._project_id, ImportedFile.sha256: sha256},
            {
                "name": name[-_LONGEST_NAME:],
                "position": position,
                "counts": counts,
                "is_complete": is_complete,
                "updated_at": utc_now(),
            },
            where=ImportedFile.position <= position,
        )

    async def lock_persons(self) -> None:
        """Wait until no other import changes what stands for persons of the project."""
        await lock_project(self._session, ProjectLock.IMPORTED_PERSONS, self._project_id)

    async def known_as(self, source_ids: Sequence[str]) -> dict[str, str]:
        """Return the distinct id that stands for each person that was met before."""
        found: dict[str, str] = {}
        query = _QUERIES[self._session.get_bind().dialect.name]
        for chunk in chunks([source_id[:_LONGEST_ID] for source_id in source_ids]):
            rows = await fetch_within(self._session, query, {"project_id": self._project_id, "source_ids": chunk})
            found.update((source_id, distinct_id) for source_id, distinct_id in rows)
        return found

    async def remember(self, persons: Mapping[str, str]) -> None:
        """Let distinct ids stand for persons that were not met before."""
        rows = [(self._project_id, source_id[:_LONGEST_ID], distinct_id) for source_id, distinct_id in persons.items()]
        await insert_missing_rows(self._session, ImportedPerson, ("project_id", "source_id", "distinct_id"), rows)
