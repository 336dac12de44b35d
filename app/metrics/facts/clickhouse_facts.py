"""Facts in ClickHouse: inserted there first, then made visible by the watermarks in the database."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from typing import Final
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.clickhouse import ClickHouse
from app.db.database import Database
from app.db.models import utc_now
from app.metrics.facts.actor_keys import ActorKeyRepository
from app.metrics.facts.clickhouse_inserts import FactInserts, PlannedFacts
from app.metrics.facts.clickhouse_reading import ClickHouseSeries
from app.metrics.facts.clickhouse_records import to_records
from app.metrics.facts.columns import EVERYONE, WITHOUT_VALUES, ActorRange, Column, FactColumns
from app.metrics.facts.database_facts import DatabaseFacts, matches_after
from app.metrics.facts.matching import Match, SeriesMatcher
from app.metrics.facts.repository import FactRepository
from app.metrics.facts.series_facts import SeriesFacts, find_codes
from app.metrics.facts.stored_series import SeriesGone

_LONGEST_INSERT: Final = dt.timedelta(minutes=10)


class ClickHouseFacts:
    """The facts of a deployment with ClickHouse; series that were not moved yet still have theirs in PostgreSQL."""

    is_beside_events: Final = False

    def __init__(self, database: Database, clickhouse: ClickHouse) -> None:
        self._database = database
        self._clickhouse = clickhouse
        self._before = DatabaseFacts(database)

    def read(
        self,
        session: AsyncSession,
        series_ids: Sequence[int],
        variants: Sequence[str],
        columns: Set[Column] = WITHOUT_VALUES,
    ) -> "SeriesInBoth":
        return SeriesInBoth(self._database, self._clickhouse, session, series_ids, variants, columns)

    async def store(
        self,
        project_id: int,
        matchers: Mapping[int, SeriesMatcher],
        matches: Mapping[int, list[Match]],
        reached: int,
    ) -> None:
        async with self._database.read() as session:
            here = (await FactRepository(session, project_id).in_clickhouse(matchers)).keys()
        if rest := {series_id: matcher for series_id, matcher in matchers.items() if series_id not in here}:
            await self._before.store(project_id, rest, matches, reached)
        if ours := {series_id: matcher for series_id, matcher in matchers.items() if series_id in here}:
            while not await self._try_to_store(project_id, ours, matches, reached):
                pass

    async def _try_to_store(
        self,
        project_id: int,
        matchers: Mapping[int, SeriesMatcher],
        matches: Mapping[int, list[Match]],
        reached: int,
    ) -> bool:
        """Store matches after the watermarks; return False when another process has moved these meanwhile."""

        async def plan(session: AsyncSession, behind: Mapping[int, int]) -> PlannedFacts:
            new = await asyncio.to_thread(matches_after, matches, behind)
            resolved = await ActorKeyRepository(session, project_id).resolve_all(new, matchers)
            rows = await FactRepository(session, project_id).to_rows(resolved)
            records = await asyncio.to_thread(to_records, project_id, rows)
            counts = {series_id: len(found) for series_id, found in new.items() if found}
            return PlannedFacts(counts, lambda: self._clickhouse.insert("fact", records, uuid4().hex))

        digests = {series_id: matcher.digest for series_id, matcher in matchers.items()}
        return await FactInserts(self._database, self._clickhouse, project_id).attempt(digests, reached, plan)

    async def remove_some(self, project_id: int, series_id: int, limit: int) -> bool:
        async with self._database.read() as session:
            is_here = await FactRepository(session, project_id).in_clickhouse([series_id])
        if not is_here:
            return await self._before.remove_some(project_id, series_id, limit)
        async with self._database.write() as session:  # waits for an insert that is under way
            await FactRepository(session, project_id).lock_one(series_id)
        await self._clickhouse.remove("fact", f"series = {series_id:d}")
        async with self._database.write() as session:
            await FactRepository(session, project_id).remove_series(series_id)
        return True

    async def settle(self, project_id: int) -> None:
        """Count facts with and without repetition where an insert was interrupted, once it must have ended."""
        async with self._database.read() as session:
            expected = await FactRepository(session, project_id).may_repeat(utc_now() - _LONGEST_INSERT)
        for series_id, since in expected.items():
            table, inside = self._clickhouse.table("fact"), f"WHERE series = {series_id:d}"
            stored = await self._clickhouse.execute(f"SELECT count() FROM {table} {inside}")  # noqa: S608  # a number
            different = await self._clickhouse.execute(f"SELECT count() FROM {table} FINAL {inside}")  # noqa: S608  # as above
            if stored == different:
                async with self._database.write() as session:
                    await FactRepository(session, project_id).expect_no_repeats(series_id, since)

    async def series_with(self, session: AsyncSession, project_id: int, person_ids: Sequence[int]) -> set[int]:
        facts = FactRepository(session, project_id)
        found = await facts.series_with(person_ids)
        here = await facts.in_clickhouse(await facts.all_ids())
        if not here or not person_ids:
            return found
        inside, persons = (", ".join(f"{one:d}" for one in numbers) for numbers in (here, person_ids))
        statement = f"SELECT DISTINCT series FROM {self._clickhouse.table('fact')} WHERE series IN ({inside}) AND person IN ({persons})"  # noqa: E501, S608  # our own names, and numbers
        columns = await self._clickhouse.columns(statement, ["series"])
        return found | {int(one) for one in columns["series"]}


class SeriesInBoth:
    """The facts of series, each read from where the snapshot of a session says that they are."""

    def __init__(
        self,
        database: Database,
        clickhouse: ClickHouse,
        session: AsyncSession,
        series_ids: Sequence[int],
        variants: Sequence[str],
        columns: Set[Column],
    ) -> None:
        self._database = database
        self._clickhouse = clickhouse
        self._session = session
        self._series_ids = series_ids
        self._variants = variants
        self._columns = columns
        self._there: tuple[list[int], ClickHouseSeries] | None = None

    async def ranges(self, high_water_mark: int, rows: int) -> Sequence[ActorRange]:
        moved, source = await self._found()
        return await source.ranges(high_water_mark, rows) if moved else [EVERYONE]

    async def since(self, moment: int, high_water_mark: int, actors: ActorRange = EVERYONE) -> list[FactColumns]:
        return await self._read(lambda one: one.since(moment, high_water_mark, actors))

    async def between(self, moment: int, end: int, high_water_mark: int) -> list[FactColumns]:
        return await self._read(lambda one: one.between(moment, end, high_water_mark))

    async def after(self, watermark: int, high_water_mark: int, limit: int) -> list[FactColumns]:
        return await self._read(lambda one: one.after(watermark, high_water_mark, limit))

    async def of_persons(
        self, persons: Mapping[int, Sequence[int]], since: int, high_water_mark: int
    ) -> list[FactColumns]:
        return await self._read(lambda one: one.of_persons(persons, since, high_water_mark))

    async def of_events(self, sequences: Sequence[int]) -> list[FactColumns]:
        return await self._read(lambda one: one.of_events(sequences))

    async def _read(
        self, read: Callable[[SeriesFacts | ClickHouseSeries], Awaitable[list[FactColumns]]]
    ) -> list[FactColumns]:
        moved, source = await self._found()
        others = [one for one in dict.fromkeys(self._series_ids) if one not in moved]
        found: dict[int, FactColumns] = {}
        if others:
            here = SeriesFacts(self._session, others, self._variants, self._columns)
            found |= zip(others, await read(here), strict=True)
        if moved:
            found |= zip(moved, await read(source), strict=True)
            # The snapshot of the session does not hold for ClickHouse: facts of series that are being removed, or moved
            # away, may be missing. That is recorded before the first one goes.
            async with self._database.read() as session:
                if not await FactRepository(session, 0).are_in_clickhouse(moved):
                    raise SeriesGone(moved)
        return [found[series_id] for series_id in self._series_ids]

    async def _found(self) -> tuple[list[int], ClickHouseSeries]:
        if self._there is None:
            self._there = await self._find()
        return self._there

    async def _find(self) -> tuple[list[int], ClickHouseSeries]:
        moved = await FactRepository(self._session, 0).in_clickhouse(dict.fromkeys(self._series_ids))
        ids = [one for one in dict.fromkeys(self._series_ids) if one in moved]
        # In a session of its own: may_repeat is set before facts are repeated, which may be after this snapshot.
        async with self._database.read() as session:
            repeats = await FactRepository(session, 0).in_clickhouse(ids)
        codes = await find_codes(self._session, ids, self._variants)
        source = ClickHouseSeries(
            self._clickhouse, ids, codes, len(self._variants) + 1, self._columns, may_repeat=any(repeats.values())
        )
        return ids, source
