"""Series and facts in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.bulk import Columns, Row, insert_rows, read_columns
from app.facts.matching import Match
from app.facts.series import SeriesDefinition
from app.models import Fact, PersonMerge, Series, SeriesVariant

_FACT_COLUMNS = ("series_id", "sequence", "person_id", "time", "value", "variant")


@dataclass(frozen=True)
class StoredSeries:
    """A series with its number in the database."""

    id: int
    definition: SeriesDefinition
    watermark: int


@dataclass(frozen=True)
class MergedPersons:
    """Persons that were merged away (ascending), and who they are now."""

    merged: NDArray[np.int64]
    current: NDArray[np.int64]

    def resolve(self, persons: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return today's person of each person id."""
        if not self.merged.size:
            return persons
        position = np.minimum(np.searchsorted(self.merged, persons), self.merged.size - 1)
        return np.where(self.merged[position] == persons, self.current[position], persons)


class FactRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def find(self, definitions: Sequence[SeriesDefinition]) -> dict[str, StoredSeries]:
        """Return the series that exist, by the digest of their definition."""
        by_digest = {definition.digest: definition for definition in definitions}
        rows = await self._session.execute(
            select(Series.id, Series.digest, Series.watermark).where(
                Series.project_id == self._project_id, Series.digest.in_(by_digest)
            )
        )
        return {row.digest: StoredSeries(row.id, by_digest[row.digest], row.watermark) for row in rows}

    async def create(self, definitions: Sequence[SeriesDefinition]) -> None:
        """Create series; one that exists stays as it is."""
        insert_ = postgresql_insert if self._session.get_bind().dialect.name == "postgresql" else sqlite_insert
        for definition in definitions:
            await self._session.execute(
                insert_(Series)
                .values(project_id=self._project_id, digest=definition.digest, definition=definition.canonical())
                .on_conflict_do_nothing()
            )

    async def lock(self, series_id: int) -> int:
        """Return the watermark, held until the transaction ends: nobody else moves it meanwhile."""
        watermark = await self._session.scalar(
            select(Series.watermark)
            .where(Series.project_id == self._project_id, Series.id == series_id)
            .with_for_update()
        )
        if watermark is None:
            raise LookupError(f"series {series_id} is gone")
        return watermark

    async def append(self, series_id: int, matches: Sequence[Match]) -> None:
        """Store facts. Call ``lock`` first."""
        codes = await self._intern(series_id, {match.variant for match in matches})
        rows: list[Row] = [
            (series_id, sequence, person_id, time, value, codes[variant])
            for sequence, person_id, time, value, variant, _ in matches
        ]
        await insert_rows(self._session, Fact, _FACT_COLUMNS, rows)

    async def _intern(self, series_id: int, values: set[str]) -> Mapping[str, int]:
        """Return a code for each variant text, giving new texts the next codes."""
        codes = {"": 0, **await self.variant_codes(series_id)}
        new = sorted(values - codes.keys())
        codes |= {value: code for code, value in enumerate(new, start=max(codes.values()) + 1)}
        if new:
            await self._session.execute(
                insert(SeriesVariant),
                [{"series_id": series_id, "code": codes[value], "value": value} for value in new],
            )
        return codes

    async def move_watermark(self, series_id: int, sequence: int) -> None:
        await self._session.execute(update(Series).where(Series.id == series_id).values(watermark=sequence))

    async def variant_codes(self, series_id: int) -> dict[str, int]:
        rows = await self._session.execute(
            select(SeriesVariant.value, SeriesVariant.code).where(SeriesVariant.series_id == series_id)
        )
        return {row.value: row.code for row in rows}

    async def columns(self, series_id: int, since: int, until: int, high_water_mark: int) -> Columns:
        """Return ``sequence, person_id, time, value, variant`` of the facts with ``since <= time < until``.

        Of events up to ``high_water_mark`` only, so that series which were brought up to it agree on what has happened.
        """
        return await read_columns(
            self._session,
            select(Fact.sequence, Fact.person_id, Fact.time, Fact.value, Fact.variant).where(
                Fact.series_id == series_id,
                Fact.sequence <= high_water_mark,
                Fact.time >= since,
                Fact.time < until,
            ),
        )

    async def merged_persons(self) -> MergedPersons:
        columns = await read_columns(
            self._session,
            select(PersonMerge.merged_id, PersonMerge.person_id)
            .where(PersonMerge.project_id == self._project_id)
            .order_by(PersonMerge.merged_id),
        )
        return MergedPersons(columns["merged_id"].astype(np.int64), columns["person_id"].astype(np.int64))
