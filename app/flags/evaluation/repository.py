"""The flags, persons and hash keys of evaluation in the database."""

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Integer, Select, Text, and_, bindparam, case, cast, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.bulk import insert_missing_rows
from app.db.compiled_queries import fetch_within, is_among
from app.db.models import Experiment, FeatureFlag, HashKeyOverride, Person, PersonDistinctId, Project

Fetch: TypeAlias = Callable[[Select[*tuple[Any, ...]], Mapping[str, object]], Awaitable[Sequence[tuple[Any, ...]]]]


class StoredFlag(NamedTuple):
    """An active flag as it is stored; ``filters`` is JSON text. Equal rows make equal prepared flags."""

    id: int
    key: str
    filters: str
    ensure_experience_continuity: bool
    has_experiment: bool


class StoredPerson(NamedTuple):
    """A person's id and, as JSON text, properties."""

    id: int
    properties: str


class ActiveFlagRepository:
    """Active flags by the project's public token."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, token: str) -> tuple[int, Sequence[StoredFlag], Mapping[int, str]] | None:
        """Return the id of the project that has the token, its active flags, oldest first, and the keys of the others.

        Deleted flags are not among them.
        """
        has_experiment = (
            select(Experiment.id).where(Experiment.feature_flag_id == FeatureFlag.id).correlate(FeatureFlag).exists()
        )
        rows = await self._session.execute(
            select(
                Project.id,
                FeatureFlag.id,
                FeatureFlag.key,
                case((FeatureFlag.active, cast(FeatureFlag.filters, Text)), else_=None),
                FeatureFlag.ensure_experience_continuity,
                has_experiment,
            )
            .outerjoin(
                FeatureFlag,
                and_(FeatureFlag.project_id == Project.id, ~FeatureFlag.deleted),
            )
            .where(Project.api_token == token)
            .order_by(FeatureFlag.id)
        )
        found = rows.all()
        if not found:
            return None
        stored = [row for row in found if row[2]]  # a project without flags gives one row of nulls
        active = [StoredFlag(*row[1:]) for row in stored if row[3] is not None]
        return found[0][0], active, {row[1]: row[2] for row in stored if row[3] is None}


@functools.cache
def _persons_query(dialect_name: str) -> Select[str, int, str]:
    return (
        select(PersonDistinctId.distinct_id, Person.id, cast(Person.properties, Text))
        .join(Person, Person.id == PersonDistinctId.person_id)
        .where(
            PersonDistinctId.project_id == bindparam("project_id", type_=Integer),
            is_among(PersonDistinctId.distinct_id, "distinct_ids", dialect_name),
        )
    )


@functools.cache
def _hash_keys_query(dialect_name: str) -> Select[int, str, str]:
    return select(HashKeyOverride.person_id, HashKeyOverride.feature_flag_key, HashKeyOverride.hash_key).where(
        HashKeyOverride.project_id == bindparam("project_id", type_=Integer),
        is_among(HashKeyOverride.person_id, "person_ids", dialect_name),
    )


class EvaluatedPersonQueries:
    """Bound to one project when built, so no query can forget the tenant.

    Most requests for flags read only a person from the database, so this query dominates their cost: a compiled query
    on a connection of its own takes a quarter of the time of a session.
    """

    def __init__(self, fetch: Fetch, dialect_name: str, project_id: int) -> None:
        self._fetch = fetch
        self._dialect_name = dialect_name
        self._project_id = project_id

    async def persons(self, distinct_ids: Sequence[str]) -> dict[str, StoredPerson]:
        """Return the persons of distinct ids; unknown ones are absent."""
        parameters = {"project_id": self._project_id, "distinct_ids": distinct_ids}
        rows = await self._fetch(_persons_query(self._dialect_name), parameters)
        return {distinct_id: StoredPerson(*columns) for distinct_id, *columns in rows}

    async def hash_keys(self, person_ids: Sequence[int]) -> dict[int, dict[str, str]]:
        """Return the identifiers that are hashed for persons in place of the distinct id, by flag key."""
        found: dict[int, dict[str, str]] = {person_id: {} for person_id in person_ids}
        parameters = {"project_id": self._project_id, "person_ids": person_ids}
        for person_id, flag_key, hash_key in await self._fetch(_hash_keys_query(self._dialect_name), parameters):
            found[person_id][flag_key] = hash_key
        return found


class EvaluatedPersonRepository(EvaluatedPersonQueries):
    """The same queries inside a transaction, with writes."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        super().__init__(partial(fetch_within, session), session.get_bind().dialect.name, project_id)
        self._session = session

    async def add_hash_keys(self, person_id: int, hash_keys: Mapping[str, str]) -> None:
        """Store identifiers to hash for a person, except for flags for which the person has one."""
        await insert_missing_rows(
            self._session,
            HashKeyOverride,
            ("project_id", "person_id", "feature_flag_key", "hash_key"),
            [(self._project_id, person_id, flag_key, hash_key) for flag_key, hash_key in hash_keys.items()],
        )
