"""What evaluation reads and keeps."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Text, and_, cast, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.bulk import chunks, insert_missing_rows
from app.models import Experiment, FeatureFlag, HashKeyOverride, Person, PersonDistinctId, Project


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

    async def find(self, token: str) -> tuple[int, Sequence[StoredFlag]] | None:
        """Return the project that has the token, and its flags that are neither off nor deleted, oldest first."""
        has_experiment = (
            select(Experiment.id).where(Experiment.feature_flag_id == FeatureFlag.id).correlate(FeatureFlag).exists()
        )
        rows = await self._session.execute(
            select(
                Project.id,
                FeatureFlag.id,
                FeatureFlag.key,
                cast(FeatureFlag.filters, Text),
                FeatureFlag.ensure_experience_continuity,
                has_experiment,
            )
            .outerjoin(
                FeatureFlag,
                and_(FeatureFlag.project_id == Project.id, FeatureFlag.active, ~FeatureFlag.deleted),
            )
            .where(Project.api_token == token)
            .order_by(FeatureFlag.id)
        )
        found = rows.all()
        if not found:
            return None
        flags = (StoredFlag(*row[1:]) for row in found)
        return found[0][0], [flag for flag in flags if flag.key]  # a project without flags is one row of nothing


class EvaluatedPersonRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def persons(self, distinct_ids: Sequence[str]) -> dict[str, StoredPerson]:
        """Return the persons of distinct ids; unknown ones are absent."""
        found: dict[str, StoredPerson] = {}
        for chunk in chunks(distinct_ids):
            rows = await self._session.execute(
                select(PersonDistinctId.distinct_id, Person.id, cast(Person.properties, Text))
                .join(Person, Person.id == PersonDistinctId.person_id)
                .where(PersonDistinctId.project_id == self._project_id, PersonDistinctId.distinct_id.in_(chunk))
            )
            found |= {row[0]: StoredPerson(*row[1:]) for row in rows}
        return found

    async def hash_keys(self, person_ids: Sequence[int]) -> dict[int, dict[str, str]]:
        """Return the identifiers that persons keep, by the keys of flags."""
        found: dict[int, dict[str, str]] = {person_id: {} for person_id in person_ids}
        for chunk in chunks(person_ids):
            rows = await self._session.execute(
                select(HashKeyOverride.person_id, HashKeyOverride.feature_flag_key, HashKeyOverride.hash_key).where(
                    HashKeyOverride.project_id == self._project_id, HashKeyOverride.person_id.in_(chunk)
                )
            )
            for person_id, flag_key, hash_key in rows:
                found[person_id][flag_key] = hash_key
        return found

    async def add_hash_keys(self, person_id: int, hash_keys: Mapping[str, str]) -> None:
        """Keep identifiers for a person; those he keeps already stay."""
        await insert_missing_rows(
            self._session,
            HashKeyOverride,
            ("project_id", "person_id", "feature_flag_key", "hash_key"),
            [(self._project_id, person_id, flag_key, hash_key) for flag_key, hash_key in hash_keys.items()],
        )
