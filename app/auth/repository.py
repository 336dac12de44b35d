"""Keys and their users in the database."""

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from app.auth.keys import NewKey
from app.models import PersonalApiKey, User


class KeyRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, digest: str) -> PersonalApiKey | None:
        """Return the key of an active user."""
        return await self._session.scalar(
            select(PersonalApiKey)
            .join(PersonalApiKey.user)
            .where(PersonalApiKey.digest == digest, User.is_active)
            .options(joinedload(PersonalApiKey.user))
        )

    async def touch(self, key_id: int, moment: dt.datetime) -> None:
        await self._session.execute(
            update(PersonalApiKey).where(PersonalApiKey.id == key_id).values(last_used_at=moment)
        )

    async def add(self, user: User, label: str, key: NewKey) -> PersonalApiKey:
        row = PersonalApiKey(user_id=user.id, label=label, mask=key.mask, digest=key.digest)
        self._session.add(row)
        await self._session.flush()
        return row

    async def of_user(self, user_id: int) -> Sequence[PersonalApiKey]:
        """Return the user's keys, newest first."""
        found = await self._session.scalars(
            select(PersonalApiKey)
            .where(PersonalApiKey.user_id == user_id)
            .order_by(PersonalApiKey.created_at.desc(), PersonalApiKey.id.desc())
        )
        return found.all()

    async def find_of_user(self, user_id: int, key_id: int, *, for_update: bool = False) -> PersonalApiKey | None:
        """Return a key if it is the user's, on request locked against other writers."""
        query = select(PersonalApiKey).where(PersonalApiKey.user_id == user_id, PersonalApiKey.id == key_id)
        return await self._session.scalar(query.with_for_update() if for_update else query)

    async def get(self, key_id: int) -> PersonalApiKey | None:
        return await self._session.get(PersonalApiKey, key_id)

    async def delete(self, key: PersonalApiKey) -> None:
        await self._session.delete(key)
        await self._session.flush()
