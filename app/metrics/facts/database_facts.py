"""Facts in the database that holds everything else."""

from collections.abc import Mapping, Sequence, Set
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.common.threads import in_thread
from app.db.database import Database
from app.metrics.facts.actor_keys import ActorKeyRepository
from app.metrics.facts.columns import WITHOUT_VALUES, Column
from app.metrics.facts.matching import Match, SeriesMatcher
from app.metrics.facts.repository import FEW_MATCHES, FactRepository
from app.metrics.facts.series_facts import SeriesFacts


class DatabaseFacts:
    """The table ``series_fact``: facts, and the watermarks that say how far they reach, stored in one transaction."""

    is_beside_events: Final = True

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(
        self,
        session: AsyncSession,
        series_ids: Sequence[int],
        variants: Sequence[str],
        columns: Set[Column] = WITHOUT_VALUES,
    ) -> SeriesFacts:
        return SeriesFacts(session, series_ids, variants, columns)

    async def store(
        self,
        project_id: int,
        matchers: Mapping[int, SeriesMatcher],
        matches: Mapping[int, list[Match]],
        reached: int,
    ) -> None:
        async with self._database.write(durable=False, owner=project_id) as session:
            facts = FactRepository(session, project_id)
            locked = await facts.lock({series_id: matcher.digest for series_id, matcher in matchers.items()})
            # Another process may have stored some of them meanwhile.
            watermarks = {series_id: watermark for series_id, watermark in locked.items() if watermark < reached}
            are_many = sum(map(len, matches.values())) > FEW_MATCHES
            new = await in_thread(lambda: matches_after(matches, watermarks), if_long=are_many)
            resolved = await ActorKeyRepository(session, project_id).resolve_all(new, matchers)
            counts = {series_id: len(found) for series_id, found in resolved.items()}
            await facts.append(resolved, await facts.choose_bulk(counts, reached))
            await facts.move_watermarks(watermarks, reached)

    async def remove_some(self, project_id: int, series_id: int, limit: int) -> bool:
        async with self._database.write(durable=False, owner=project_id) as session:
            return await FactRepository(session, project_id).remove_some(series_id, limit)

    async def settle(self, project_id: int) -> None:
        """Do nothing: what was interrupted was undone."""

    async def series_with(self, session: AsyncSession, project_id: int, person_ids: Sequence[int]) -> set[int]:
        return await FactRepository(session, project_id).series_with(person_ids)


def matches_after(matches: Mapping[int, list[Match]], watermarks: Mapping[int, int]) -> dict[int, list[Match]]:
    """Return the matches of each series after its watermark."""
    return {
        series_id: [match for match in matches[series_id] if match.sequence > watermark]
        for series_id, watermark in watermarks.items()
    }
