"""Feature flags in the database."""

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import FeatureFlag


class KeyTaken(Exception):
    """A living flag of the project has this key."""


class FlagRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def add(self, flag: FeatureFlag) -> None:
        """Store a new flag; the database decides whether its key is free."""
        flag.project_id = self._project_id
        try:
            async with self._session.begin_nested():
                self._session.add(flag)
        except IntegrityError as error:
            raise KeyTaken(flag.key) from error

    async def key_is_taken(self, key: str) -> bool:
        living = select(FeatureFlag.id).where(
            FeatureFlag.project_id == self._project_id, FeatureFlag.key == key, ~FeatureFlag.deleted
        )
        return await self._session.scalar(living) is not None

    async def flush(self) -> None:
        await self._session.flush()
