"""Sessions of browsers, and sign-in links, in the database."""

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from app.db.models import BrowserSession, PersonalApiKey, SignInLink, User


class BrowserSessionRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, row: BrowserSession | SignInLink) -> None:
        self._session.add(row)
        await self._session.flush()

    async def hold_key(self, key_id: int) -> bool:
        """Keep a key from being revoked until the transaction ends; return whether there is one."""
        query = select(PersonalApiKey.id).where(PersonalApiKey.id == key_id).with_for_update()
        return await self._session.scalar(query) is not None

    async def of_user(self, user_id: int, now: dt.datetime) -> Sequence[BrowserSession]:
        """Return the user's sessions that have not expired, with their keys, the last used first."""
        found = await self._session.scalars(
            select(BrowserSession)
            .where(BrowserSession.user_id == user_id, BrowserSession.expires_at > now)
            .options(joinedload(BrowserSession.key))
            .order_by(BrowserSession.last_used_at.desc(), BrowserSession.id.desc())
        )
        return found.all()

    async def delete(self, session_ids: Sequence[int]) -> None:
        await self._session.execute(delete(BrowserSession).where(BrowserSession.id.in_(session_ids)))

    async def delete_with_digest(self, digest: str) -> None:
        await self._session.execute(delete(BrowserSession).where(BrowserSession.digest == digest))

    async def delete_expired(self, now: dt.datetime) -> None:
        await self._session.execute(delete(BrowserSession).where(BrowserSession.expires_at <= now))
        await self._session.execute(delete(SignInLink).where(SignInLink.expires_at <= now))

    async def take_link(self, digest: str, now: dt.datetime) -> User | None:
        """Remove a link that has not expired, and return its user if they are active. Only one caller gets them."""
        user_id = await self._session.scalar(
            delete(SignInLink)
            .where(SignInLink.digest == digest, SignInLink.expires_at > now)
            .returning(SignInLink.user_id)
        )
        if user_id is None:
            return None
        return await self._session.scalar(select(User).where(User.id == user_id, User.is_active))
