"""Stored counts in the database."""

import datetime as dt
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import BigInteger, Integer, Select, bindparam, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.bulk import chunks
from app.db.compiled_queries import is_among
from app.db.database import Database
from app.db.models import ActivityEntry, Count, Event, PersonMerge, Project, Series, utc_now
from app.db.upserts import insert_or_advance
from app.events.repository import RELEASED_UNTIL
from app.metrics.counting.basis import Basis
from app.metrics.facts.stored_series import SeriesGone

_MAX_NAMES = 100


@dataclass(frozen=True)
class StoredCount:
    """The counts of a metric up to a watermark, as a row of the table ``count``."""

    watermark: int
    merge_mark: int
    until: int
    body: bytes


@functools.cache
def _counts_query(dialect_name: str) -> Select[*tuple[Any, ...]]:
    """Return a query for the counts with some digests: a row for each, or one row with nulls where there is none."""
    last_merge = select(func.max(PersonMerge.sequence)).where(PersonMerge.project_id == Project.id).scalar_subquery()
    is_wanted = (Count.project_id == Project.id) & is_among(Count.digest, "digests", dialect_name)
    return (
        select(func.coalesce(last_merge, 0), Count.digest, Count.watermark, Count.merge_mark, Count.until, Count.body)
        .select_from(Project)
        .outerjoin(Count, is_wanted)
        .where(Project.id == bindparam("project_id", type_=Integer))
    )


@functools.cache
def _counts_and_series_query(dialect_name: str) -> Select[*tuple[Any, ...]]:
    """Return ``_counts_query`` with the number of some series that still have their digests, in the last column."""
    present = select(func.count()).where(
        is_among(Series.id, "series", dialect_name), is_among(Series.digest, "series_digests", dialect_name)
    )
    return _counts_query(dialect_name).add_columns(present.scalar_subquery())


def _as_stored(rows: Sequence[Sequence[Any]]) -> tuple[dict[str, StoredCount], int]:
    """Return counts by digest, and the number of the last merge."""
    found = {digest: StoredCount(*stored) for _, digest, *stored in rows if digest is not None}
    return found, rows[0][0] if rows else 0


class CountQueries:
    """Stored counts of one project, read on a connection of their own."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def find(self, digests: Iterable[str]) -> tuple[Mapping[str, StoredCount], int]:
        """Return counts by digest, and the sequence number of the project's last merge; 0 without merges."""
        query = _counts_query(self._database.engine.dialect.name)
        return _as_stored(await self._database.fetch(query, {"project_id": self._project_id, "digests": list(digests)}))


@dataclass(frozen=True)
class Position:
    """How far the logs of a project are, apart from that of events: the numbers of the last entries, 0 for none."""

    merge: int
    change: int  # of the flag


@functools.lru_cache(maxsize=64)
def _position_of(names: int | None, dialect_name: str) -> Select[*tuple[Any, ...]]:
    """Return a query for a position: the number of some series, and the last events of the names, or of all names.

    Those that are in ClickHouse only may have any name.
    """
    project = bindparam("project_id", type_=Integer)
    merge = select(func.max(PersonMerge.sequence)).where(PersonMerge.project_id == project)
    change = select(func.max(ActivityEntry.id)).where(
        ActivityEntry.project_id == project,
        ActivityEntry.scope == "FeatureFlag",
        ActivityEntry.item_id == bindparam("flag_id", type_=BigInteger),
    )
    present = select(func.count()).where(
        is_among(Series.id, "series", dialect_name), is_among(Series.digest, "digests", dialect_name)
    )
    last = [select(func.max(Event.sequence))]
    if names is not None:
        last = [
            last[0].where(Event.project_id == project, Event.name == bindparam(f"name_{place}"))
            for place in range(names)
        ]
    columns = [*(one.scalar_subquery() for one in (merge, change, present, *last)), RELEASED_UNTIL]
    return select(*(one.label(f"column_{place}") for place, one in enumerate(columns)))


class PositionQueries:
    """Tells whether anything is new in one project, in one query."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def look(self, basis: Basis, flag_id: int) -> tuple[Position, bool]:
        """Return the position, and whether the series of a basis still exist and have no later events."""
        names = None if basis.names is None else sorted(basis.names)[: _MAX_NAMES + 1]
        query = _position_of(None if names is None else len(names), self._database.engine.dialect.name)
        bound = {f"name_{place}": name for place, name in enumerate(names or ())}
        lists = {"series": list(basis.series), "digests": list(basis.series.values())}
        [row] = await self._database.fetch(
            query, {"project_id": self._project_id, "flag_id": flag_id, **lists, **bound}
        )
        merge, change, present, *last = row
        is_same = present == len(basis.series) and max((one or 0 for one in last), default=0) <= (basis.watermark or 0)
        return Position(merge or 0, change or 0), is_same and (names is None or len(names) <= _MAX_NAMES)


class CountRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def find(self, digests: Iterable[str], series: Mapping[int, str]) -> tuple[Mapping[str, StoredCount], int]:
        """Return counts by digest, and the sequence number of the project's last merge; 0 without merges.

        Raises
        ------
        SeriesGone
            When one of the series, given by id, was removed: its facts may be gone too.
        """
        query = _counts_and_series_query(self._session.get_bind().dialect.name)
        lists = {"series": list(series), "series_digests": list(series.values())}
        bound = {"project_id": self._project_id, "digests": list(digests), **lists}
        rows = (await self._session.execute(query, bound)).all()
        if not rows or rows[0][-1] < len(series):
            raise SeriesGone(series.keys())
        return _as_stored([row[:-1] for row in rows])

    async def remove_others(self, used: Collection[str], before: dt.datetime) -> None:
        """Remove the unused counts that were stored before a moment."""
        rows = await self._session.execute(
            select(Count.id, Count.digest).where(Count.project_id == self._project_id, Count.updated_at < before)
        )
        for chunk in chunks([row.id for row in rows if row.digest not in used]):
            await self._session.execute(delete(Count).where(Count.id.in_(chunk)))

    async def store(self, counts: Mapping[str, StoredCount]) -> None:
        """Store counts by their digests, unless newer ones are stored.

        Each is complete in itself, so nothing is lost either way. All transactions lock the rows in one order.
        """
        rows = [
            {"project_id": self._project_id, "digest": digest, **asdict(counts[digest]), "updated_at": utc_now()}
            for digest in sorted(counts)
        ]
        await insert_or_advance(
            self._session, Count, rows, (Count.project_id, Count.digest), (Count.until, Count.watermark)
        )
