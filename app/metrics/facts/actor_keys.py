"""Numbers for actors other than persons, because facts hold numbers only."""

from collections.abc import Mapping, Sequence, Set

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.advisory_locks import ProjectLock, lock_project
from app.db.bulk import chunks, insert_missing_rows
from app.db.models import ActorKey
from app.metrics.facts.columns import NO_ACTOR
from app.metrics.facts.event_sets import SESSION_PROPERTY, names_actors
from app.metrics.facts.matching import Match, SeriesMatcher

_COLUMNS = ("project_id", "property", "key")


class ActorKeyRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def resolve_actors(self, matches: Sequence[Match], actor_property: str) -> list[Match]:
        """Return the matches with the number of their actor in place of the person; new actors get a number."""
        if matches and not names_actors(actor_property):
            await lock_project(self._session, ProjectLock.ACTOR_VALUES, self._project_id, shared=True)
        numbers = await self._intern(actor_property, {match.actor for match in matches if match.actor})
        return [
            Match(sequence, numbers.get(actor or "", NO_ACTOR), time, value, variant, actor)
            for sequence, _, time, value, variant, actor in matches
        ]

    async def resolve_all(
        self, matches: Mapping[int, list[Match]], matchers: Mapping[int, SeriesMatcher]
    ) -> dict[int, list[Match]]:
        """Return the matches of series with the numbers of their actors, where these are not persons."""
        resolved = dict(matches)
        for series_id, found in matches.items():
            actor_property = matchers[series_id].actor_property
            if actor_property is not None:
                resolved[series_id] = await self.resolve_actors(found, actor_property)
        return resolved

    async def texts(self, numbers: Sequence[int]) -> dict[int, str]:
        """Return the texts of actors by their numbers."""
        found: dict[int, str] = {}
        for chunk in chunks(numbers):
            rows = await self._session.execute(
                select(ActorKey.id, ActorKey.key).where(ActorKey.project_id == self._project_id, ActorKey.id.in_(chunk))
            )
            found.update({row.id: row.key for row in rows})
        return found

    async def wait_for_users(self) -> None:
        """Wait for the transactions that store facts with numbers of values, and keep later ones waiting.

        Call it before ``forget_values``, and before the query of what is kept: by then the series of those exists.
        """
        await lock_project(self._session, ProjectLock.ACTOR_VALUES, self._project_id)

    async def forget_values(self, kept: Set[str], limit: int) -> bool:
        """Remove at most `limit` values of properties that no breakdown keeps; return whether that was all.

        Sessions and groups stay.
        """
        found = await self._session.scalars(
            select(ActorKey.id)
            .where(
                ActorKey.project_id == self._project_id,
                ActorKey.property != SESSION_PROPERTY,
                ActorKey.property.not_like("$group_%"),
                ActorKey.property.not_in(kept),
            )
            .limit(limit)
        )
        numbers = found.all()
        for chunk in chunks(numbers):
            await self._session.execute(
                delete(ActorKey).where(ActorKey.id.in_(chunk)).execution_options(synchronize_session=False)
            )
        return len(numbers) < limit

    async def _intern(self, actor_property: str, keys: set[str]) -> dict[str, int]:
        numbers = await self._find(actor_property, sorted(keys))
        missing = sorted(keys - numbers.keys())
        if missing:
            # Two transactions that insert in different orders would wait for each other forever.
            await lock_project(self._session, ProjectLock.ACTOR_KEYS, self._project_id)
            await insert_missing_rows(
                self._session, ActorKey, _COLUMNS, [(self._project_id, actor_property, key) for key in missing]
            )
            numbers |= await self._find(actor_property, missing)
        return numbers

    async def _find(self, actor_property: str, keys: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for chunk in chunks(keys):
            rows = await self._session.execute(
                select(ActorKey.key, ActorKey.id).where(
                    ActorKey.project_id == self._project_id,
                    ActorKey.property == actor_property,
                    ActorKey.key.in_(chunk),
                )
            )
            found.update({row.key: row.id for row in rows})
        return found
