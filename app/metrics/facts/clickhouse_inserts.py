"""Inserts of facts into ClickHouse, which become visible by the watermarks in the database.

Facts are read up to the watermark of their series only, so that what was inserted and not yet marked is invisible. That
an insert begins is recorded before: the next one finds that it was interrupted, and removes what it has left. Codes of
variants and numbers of actors are committed, durably, before facts that hold them are inserted, so that a fact that is
stored twice in spite of that is equal in all columns.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.clickhouse import ClickHouse, ClickHouseUnavailable
from app.db.database import Database
from app.metrics.facts.repository import FactRepository

# How long an insert that another process has begun is waited for, after it has let go of the series.
_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True)
class PlannedFacts:
    """Facts to insert: the number of each series that has some, and what inserts them all."""

    counts: Mapping[int, int]
    insert: Callable[[], Awaitable[None]]


# Plans the facts of series after their watermarks, in the transaction that commits what the facts refer to. It gets the
# series that are behind the event to reach.
Plan: TypeAlias = Callable[[AsyncSession, Mapping[int, int]], Awaitable[PlannedFacts]]


class FactInserts:
    """Inserts of one project: each is seen whole or not at all."""

    def __init__(self, database: Database, clickhouse: ClickHouse, project_id: int) -> None:
        self._database = database
        self._clickhouse = clickhouse
        self._project_id = project_id

    async def attempt(self, digests: Mapping[int, str], reached: int, plan: Plan) -> bool:
        """Insert facts and move the watermarks; return False when another process has moved these meanwhile.

        Raises
        ------
        SeriesGone
            When one of the series was removed.
        ClickHouseUnavailable
            When it cannot be told whether the facts are there. The next attempt removes them first.
        """
        seen, planned = await self._prepare(digests, reached, plan)
        async with self._database.write(durable=False) as session:
            facts = FactRepository(session, self._project_id)
            if await facts.lock(digests, in_clickhouse=True) != seen:
                return False
            behind = _behind(seen, reached)
            if planned.counts:
                await planned.insert()
                await self._verify(planned.counts, behind, reached)
            await facts.move_watermarks(behind, reached)
        return True

    async def _prepare(
        self, digests: Mapping[int, str], reached: int, plan: Plan
    ) -> tuple[Mapping[int, int], PlannedFacts]:
        """Return the watermarks and the facts to insert, once it is recorded which series they belong to."""
        for attempt in range(_ATTEMPTS + 1):
            async with self._database.write() as session:
                facts = FactRepository(session, self._project_id)
                seen = await facts.lock(digests, in_clickhouse=True)
                planned = await plan(session, _behind(seen, reached))
                interrupted = await facts.interrupted(planned.counts) if planned.counts else []
                if not interrupted or attempt == _ATTEMPTS:
                    for series_id in interrupted:
                        await self._remove_after(series_id, seen[series_id])
                    if interrupted:  # which may end after all, behind our back
                        await facts.expect_repeats(interrupted)
                    await facts.begin_inserting(planned.counts, reached)
                    return seen, planned
            await asyncio.sleep(_PAUSE_SECONDS)
        raise AssertionError("the last attempt takes over what was interrupted")

    async def _remove_after(self, series_id: int, watermark: int) -> None:
        """Remove what an interrupted insert has left."""
        beyond = f"series = {series_id:d} AND sequence > {watermark:d}"
        if await self._clickhouse.execute(f"SELECT count() FROM {self._clickhouse.table('fact')} WHERE {beyond}"):  # noqa: S608  # numbers
            await self._clickhouse.remove("fact", beyond)

    async def _verify(self, counts: Mapping[int, int], behind: Mapping[int, int], reached: int) -> None:
        """Read back how many facts there are of what was inserted.

        Raises
        ------
        ClickHouseUnavailable
            When there are fewer: they cannot be read yet.
        """
        ranges = " OR ".join(
            f"(series = {one:d} AND sequence > {behind[one]:d} AND sequence <= {reached:d})" for one in counts
        )
        statement = (
            f"SELECT series, count() AS facts FROM {self._clickhouse.table('fact')} WHERE {ranges} GROUP BY series"  # noqa: S608  # our own names, and numbers
        )
        found = await self._clickhouse.columns(statement, ["series", "facts"])
        stored = dict(zip(found["series"].tolist(), found["facts"].tolist(), strict=True))
        if any(stored.get(one, 0) < count for one, count in counts.items()):
            raise ClickHouseUnavailable("facts that were inserted cannot be read yet")


def _behind(watermarks: Mapping[int, int], reached: int) -> dict[int, int]:
    return {series_id: watermark for series_id, watermark in watermarks.items() if watermark < reached}
