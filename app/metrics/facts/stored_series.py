"""Series that exist, and how far their facts reach."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Integer, Select, bindparam, select

from app.db.advisory_locks import ProjectLock
from app.db.compiled_queries import is_among
from app.db.database import Database
from app.db.models import Project, Series
from app.events.repository import high_water_mark_columns
from app.metrics.facts.series import SeriesDefinition

_PROGRESS = (Series.id, Series.digest, Series.watermark, Series.events_since, Series.is_in_clickhouse)


@dataclass(frozen=True)
class StoredSeries:
    """A series with its id and its progress."""

    id: int
    definition: SeriesDefinition
    watermark: int
    events_since: int
    is_in_clickhouse: bool = False


class SeriesGone(LookupError):
    """Series were removed as unused after they were found, and before they were read or appended to."""


@functools.cache
def _series_query(key: Literal["id", "digest"], dialect_name: str) -> Select[int, str, int, int, bool]:
    """Return the query of the series of a project whose ids or digests are wanted."""
    is_wanted = is_among(getattr(Series, key), "wanted", dialect_name)
    return select(*_PROGRESS).where(Series.project_id == bindparam("project_id", type_=Integer), is_wanted)


@functools.cache
def _series_and_mark_query(dialect_name: str) -> Select[*tuple[Any, ...]]:
    """Return the query of series by digest behind the columns of the high-water mark; one row where there is none."""
    is_wanted = (Series.project_id == Project.id) & is_among(Series.digest, "wanted", dialect_name)
    return (
        select(*high_water_mark_columns(dialect_name), *_PROGRESS)
        .select_from(Project)
        .outerjoin(Series, is_wanted)
        .where(Project.id == bindparam("project_id", type_=Integer))
    )


class SeriesQueries:
    """Reads the progress of one project's series, each query on a connection of its own."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def find(self, definitions: Sequence[SeriesDefinition]) -> dict[str, StoredSeries]:
        """Return the series that exist, by the digest of their definition."""
        by_digest = {definition.digest: definition for definition in definitions}
        return _stored(await self._fetch("digest", list(by_digest)), by_digest)

    async def find_as_of(self, definitions: Sequence[SeriesDefinition]) -> tuple[dict[str, StoredSeries], int]:
        """Return the series that exist, and ``EventQueries.high_water_mark``, in one query."""
        by_digest = {definition.digest: definition for definition in definitions}
        rows = await self._database.fetch(
            _series_and_mark_query(self._database.engine.dialect.name),
            {"project_id": self._project_id, "wanted": list(by_digest), "lock": ProjectLock.EVENT_APPEND},
        )
        found = [row[-len(_PROGRESS) :] for row in rows]
        return _stored(found, by_digest), (rows[0][0] or 0 if rows else 0)

    async def watermarks(self, series_ids: Iterable[int]) -> Mapping[int, int]:
        return {series_id: watermark for series_id, _, watermark, _, _ in await self._fetch("id", list(series_ids))}

    async def _fetch(
        self, key: Literal["id", "digest"], wanted: Sequence[int | str]
    ) -> Sequence[tuple[int, str, int, int, bool]]:
        query = _series_query(key, self._database.engine.dialect.name)
        return await self._database.fetch(query, {"project_id": self._project_id, "wanted": wanted})


def _stored(rows: Sequence[Sequence[Any]], definitions: Mapping[str, SeriesDefinition]) -> dict[str, StoredSeries]:
    """Return the series of rows of ``_PROGRESS`` by digest; a row of nulls is none."""
    return {
        digest: StoredSeries(series_id, definitions[digest], *progress)
        for series_id, digest, *progress in rows
        if series_id is not None
    }
