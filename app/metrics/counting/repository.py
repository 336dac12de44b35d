"""Stored counts in the database."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.bulk import chunks
from app.db.database import Database
from app.db.models import Count, PersonMerge, Project, Series, utc_now
from app.db.upserts import insert_or_update
from app.metrics.facts.repository import SeriesGone, is_one_of


@dataclass(frozen=True)
class StoredCount:
    """The counts of a metric up to a watermark, as a row of the table ``count``."""

    watermark: int
    merge_mark: int
    until: int
    body: bytes


_COUNT = (
    select(
        func.coalesce(
            select(func.max(PersonMerge.sequence)).where(PersonMerge.project_id == Project.id).scalar_subquery(), 0
        ),
        Count.watermark,
        Count.merge_mark,
        Count.until,
        Count.body,
    )
    .select_from(Project)
    .outerjoin(Count, (Count.project_id == Project.id) & (Count.digest == bindparam("digest")))
    .where(Project.id == bindparam("project_id"))
)


def _as_stored(row: Sequence[Any]) -> tuple[StoredCount | None, int]:
    merge, *stored = row
    return (None if stored[0] is None else StoredCount(*stored)), merge


class CountQueries:
    """Stored counts of one project, read on a connection of their own."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def find(self, digest: str) -> tuple[StoredCount | None, int]:
        """Return a count, and the sequence number of the project's last merge; 0 without merges."""
        [row] = await self._database.fetch(_COUNT, {"project_id": self._project_id, "digest": digest})
        return _as_stored(row)


class CountRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def find(self, digest: str, series: Mapping[int, str]) -> tuple[StoredCount | None, int]:
        """Return a count, and the sequence number of the project's last merge; 0 without merges.

        Raises
        ------
        SeriesGone
            When one of the series, given by id, was removed: its facts may be gone too.
        """
        present = select(func.count()).select_from(Series).where(is_one_of(series)).scalar_subquery()
        found = await self._session.execute(
            _COUNT.add_columns(present), {"project_id": self._project_id, "digest": digest}
        )
        *count, series_count = found.one()
        if series_count < len(series):
            raise SeriesGone(series.keys())
        return _as_stored(count)

    async def remove_others(self, used: Collection[str], before: dt.datetime) -> None:
        """Remove the unused counts that were stored before a moment."""
        rows = await self._session.execute(
            select(Count.id, Count.digest).where(Count.project_id == self._project_id, Count.updated_at < before)
        )
        for chunk in chunks([row.id for row in rows if row.digest not in used]):
            await self._session.execute(delete(Count).where(Count.id.in_(chunk)))

    async def store(self, digest: str, count: StoredCount) -> None:
        """Store a count unless a newer one is stored. Each is complete in itself, so nothing is lost either way."""
        await insert_or_update(
            self._session,
            Count,
            {Count.project_id: self._project_id, Count.digest: digest},
            {**asdict(count), "updated_at": utc_now()},
            where=(Count.until <= count.until) & (Count.watermark <= count.watermark),
        )
