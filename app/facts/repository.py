"""Series, facts and counts in the database."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.bulk import Row, chunks, insert_rows, read_columns
from app.facts.columns import NO_VARIANT, FactColumns, concatenate
from app.facts.matching import NO_NUMBER, Match
from app.facts.series import SeriesDefinition
from app.models import Count, Fact, PersonMerge, Project, Series, SeriesVariant, utc_now

_FACT_COLUMNS = ("series_id", "sequence", "person_id", "time", "value", "variant")


@dataclass(frozen=True)
class StoredSeries:
    """A series with its number in the database."""

    id: int
    definition: SeriesDefinition
    watermark: int
    events_since: int


@dataclass(frozen=True)
class StoredCount:
    """What a metric counted up to a mark, as the table ``count`` keeps it."""

    watermark: int
    merge_mark: int
    until: int
    body: bytes


class SeriesGone(Exception):
    """A series was deleted since it was found."""


class FactRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def find(self, definitions: Sequence[SeriesDefinition]) -> dict[str, StoredSeries]:
        """Return the series that exist, by the digest of their definition."""
        by_digest = {definition.digest: definition for definition in definitions}
        rows = await self._session.execute(
            select(Series.id, Series.digest, Series.watermark, Series.events_since).where(
                Series.project_id == self._project_id, Series.digest.in_(by_digest)
            )
        )
        return {
            row.digest: StoredSeries(row.id, by_digest[row.digest], row.watermark, row.events_since) for row in rows
        }

    async def create(self, definitions: Sequence[SeriesDefinition]) -> None:
        """Create series; one that exists stays as it is."""
        # Locked, so that events are removed either before the series is made or after, when they are in it.
        events_since = await self._session.scalar(
            select(Project.events_since).where(Project.id == self._project_id).with_for_update(read=True)
        )
        insert_ = postgresql_insert if self._session.get_bind().dialect.name == "postgresql" else sqlite_insert
        for definition in definitions:
            await self._session.execute(
                insert_(Series)
                .values(
                    project_id=self._project_id,
                    digest=definition.digest,
                    definition=definition.canonical(),
                    events_since=events_since,
                )
                .on_conflict_do_nothing()
            )

    async def lock(self, series_ids: Sequence[int]) -> Mapping[int, int]:
        """Return the watermarks, held until the transaction ends: nobody else moves them meanwhile.

        Raises
        ------
        SeriesGone
            Events were removed meanwhile, and series that no experiment needs with them.
        """
        rows = await self._session.execute(
            select(Series.id, Series.watermark)
            .where(Series.project_id == self._project_id, Series.id.in_(series_ids))
            .order_by(Series.id)
            .with_for_update()
        )
        watermarks = {row.id: row.watermark for row in rows}
        gone = set(series_ids) - watermarks.keys()
        if gone:
            raise SeriesGone(f"series {sorted(gone)} are gone")
        return watermarks

    async def append(self, series_id: int, matches: Sequence[Match]) -> None:
        """Store facts. Call ``lock`` first."""
        codes = await self._intern(series_id, {match.variant for match in matches})
        rows: list[Row] = [
            (series_id, sequence, person_id, time, value, codes[variant])
            for sequence, person_id, time, value, variant, _ in matches
        ]
        await insert_rows(self._session, Fact, _FACT_COLUMNS, rows)

    async def _intern(self, series_id: int, values: set[str]) -> Mapping[str, int]:
        """Return a code for each variant text, giving new ones the next. A series may have met countless others."""
        codes = {"": 0}
        for chunk in chunks(sorted(values)):
            rows = await self._session.execute(
                select(SeriesVariant.value, SeriesVariant.code).where(
                    SeriesVariant.series_id == series_id, SeriesVariant.value.in_(chunk)
                )
            )
            codes |= {row.value: row.code for row in rows}
        new = sorted(values - codes.keys())
        if new:
            last = await self._session.scalar(
                select(func.max(SeriesVariant.code)).where(SeriesVariant.series_id == series_id)
            )
            codes |= {value: code for code, value in enumerate(new, start=(last or 0) + 1)}
            await self._session.execute(
                insert(SeriesVariant),
                [{"series_id": series_id, "code": codes[value], "value": value} for value in new],
            )
        return codes

    async def move_watermark(self, series_id: int, sequence: int) -> None:
        await self._session.execute(update(Series).where(Series.id == series_id).values(watermark=sequence))

    async def keep_only(self, series_ids: Collection[int], events_since: int) -> None:
        """Note that events before a moment are going to be removed, and delete the series that would lack them."""
        await self._session.execute(
            update(Project).where(Project.id == self._project_id).values(events_since=events_since)
        )
        stored = await self._session.scalars(select(Series.id).where(Series.project_id == self._project_id))
        for some in chunks(sorted(set(stored) - set(series_ids))):
            await self._session.execute(delete(Fact).where(Fact.series_id.in_(some)))
            await self._session.execute(delete(SeriesVariant).where(SeriesVariant.series_id.in_(some)))
            await self._session.execute(delete(Series).where(Series.id.in_(some)))


class SeriesFacts:
    """The facts of one series as columns. ``actor`` is the person an event was stored for, whoever he is by now.

    Parameters
    ----------
    variants : sequence of str
        Numbered by their place, from 1; 0 is none, ``len(variants) + 1`` any other text.
    with_values : bool
        Whether the numbers of the value property are read. Without, they are nan and take no memory.
    """

    def __init__(self, session: AsyncSession, series_id: int, variants: Sequence[str], *, with_values: bool) -> None:
        self._session = session
        self._series_id = series_id
        self._variants = variants
        self._with_values = with_values
        self._numbers: Mapping[int, int] | None = None

    async def since(self, moment: int, high_water_mark: int) -> FactColumns:
        """Return the facts of events up to the mark that happened at or after a moment."""
        return await self._read(self._query().where(Fact.time >= moment, Fact.sequence <= high_water_mark))

    async def after(self, watermark: int, high_water_mark: int, limit: int) -> FactColumns:
        """Return the facts of events after the watermark and up to the mark, in any order."""
        new = self._query().where(Fact.sequence > watermark, Fact.sequence <= high_water_mark)
        return await self._read(new.order_by(Fact.sequence).limit(limit))

    async def of_persons(self, persons: Sequence[int], since: int, high_water_mark: int) -> FactColumns:
        """Return what ``since`` returns of some persons."""
        query = self._query().where(Fact.time >= since, Fact.sequence <= high_water_mark)
        return concatenate([await self._read(query.where(Fact.person_id.in_(some))) for some in chunks(persons)])

    async def of_events(self, sequences: Sequence[int]) -> FactColumns:
        query = self._query()
        return concatenate([await self._read(query.where(Fact.sequence.in_(some))) for some in chunks(sequences)])

    def _query(self) -> Select[*tuple[Any, ...]]:
        columns = (Fact.person_id, Fact.time, Fact.variant, Fact.sequence)
        return select(*columns, *((Fact.value,) if self._with_values else ())).where(Fact.series_id == self._series_id)

    async def _read(self, query: Select[*tuple[Any, ...]]) -> FactColumns:
        columns = await read_columns(self._session, query)
        time = columns["time"].astype(np.int64, copy=False)
        value = columns["value"].astype(np.float64, copy=False) if self._with_values else None
        return FactColumns(
            actor=columns["person_id"].astype(np.int64, copy=False),
            time=time,
            variant=await self._number_variants(columns["variant"].astype(np.int32, copy=False)),
            value=np.broadcast_to(np.nan, time.shape) if value is None else np.where(value == NO_NUMBER, np.nan, value),
            sequence=columns["sequence"].astype(np.int64, copy=False),
        )

    async def _number_variants(self, codes: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the numbers of the variants behind codes."""
        if not len(codes):
            return codes
        if self._numbers is None:
            self._numbers = await self._find_numbers()
        numbers = np.where(codes == 0, NO_VARIANT, len(self._variants) + 1).astype(np.int32)
        for code, number in self._numbers.items():
            numbers[codes == code] = number
        return numbers

    async def _find_numbers(self) -> Mapping[int, int]:
        """Return the number of each variant that the series has met, by its code; it may have met countless others."""
        rows = await self._session.execute(
            select(SeriesVariant.code, SeriesVariant.value).where(
                SeriesVariant.series_id == self._series_id, SeriesVariant.value.in_(self._variants)
            )
        )
        return {row.code: self._variants.index(row.value) + 1 for row in rows}


class CountRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def find(self, digest: str) -> tuple[StoredCount, int] | None:
        """Return a count, and the place of the project's last merge in the log: 0 while nobody was merged."""
        last_merge = select(func.max(PersonMerge.sequence)).where(PersonMerge.project_id == self._project_id)
        found = await self._session.execute(
            select(
                Count.watermark,
                Count.merge_mark,
                Count.until,
                Count.body,
                func.coalesce(last_merge.scalar_subquery(), 0),
            ).where(Count.project_id == self._project_id, Count.digest == digest)
        )
        row = found.one_or_none()
        return None if row is None else (StoredCount(*row[:4]), row[4])

    async def store(self, digest: str, count: StoredCount) -> None:
        """Keep a count in place of an older one. Each is complete in itself, so nothing is lost either way."""
        insert_ = postgresql_insert if self._session.get_bind().dialect.name == "postgresql" else sqlite_insert
        values = {**asdict(count), "updated_at": utc_now()}
        await self._session.execute(
            insert_(Count)
            .values(project_id=self._project_id, digest=digest, **values)
            .on_conflict_do_update(
                index_elements=[Count.project_id, Count.digest],
                set_=values,
                where=(Count.until <= count.until) & (Count.watermark <= count.watermark),
            )
        )
