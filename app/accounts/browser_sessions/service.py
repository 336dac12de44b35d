"""Begins, lists and ends sessions of people on the pages."""

import datetime as dt
from collections.abc import Sequence
from typing import Final

from app.accounts.auth import api_keys
from app.accounts.auth.scopes import EVERYTHING
from app.accounts.auth.service import Access
from app.accounts.browser_sessions.repository import BrowserSessionRepository
from app.common import limits
from app.common.errors import AuthenticationFailed, NotFound
from app.common.ids import read_id
from app.db.models import BrowserSession, SignInLink, User, utc_now

LIFETIME: Final = dt.timedelta(days=14)
LINK_LIFETIME: Final = dt.timedelta(hours=1)
_BROWSER_CHARACTERS: Final = 200


class BrowserSessionService:
    def __init__(self, sessions: BrowserSessionRepository) -> None:
        self._sessions = sessions

    async def begin(self, user: User, key_id: int | None, browser: str) -> str:
        """Begin a session and return its token, which is not stored. Without a key it may do everything.

        Raises
        ------
        AuthenticationFailed
            When the key was revoked meanwhile.
        """
        now = utc_now()
        if key_id is not None and not await self._sessions.hold_key(key_id):
            raise AuthenticationFailed
        await self._sessions.delete_expired(now)
        others = await self._sessions.of_user(user.id, now)
        await self._sessions.delete([one.id for one in others[limits.BROWSER_SESSIONS.value - 1 :]])
        token = api_keys.generate_token()
        await self._sessions.add(
            BrowserSession(
                user_id=user.id,
                key_id=key_id,
                digest=api_keys.digest(token),
                browser=browser[:_BROWSER_CHARACTERS],
                expires_at=now + LIFETIME,
            )
        )
        return token

    async def create_link(self, user: User) -> str:
        """Return the token of a new link that signs the user in once."""
        now = utc_now()
        await self._sessions.delete_expired(now)
        token = api_keys.generate_token()
        await self._sessions.add(
            SignInLink(user_id=user.id, digest=api_keys.digest(token), expires_at=now + LINK_LIFETIME)
        )
        return token

    async def follow_link(self, token: str, browser: str) -> str:
        """Use a link up, and return the token of the session that it begins."""
        user = await self._sessions.take_link(api_keys.digest(token), utc_now())
        if user is None:
            raise AuthenticationFailed("This link was used already, or has expired. Ask for a new one.")
        return await self.begin(user, None, browser)

    async def list_own(self, access: Access) -> Sequence[BrowserSession]:
        """Return the caller's sessions, as far as their scopes reach: see ``KeyService``."""
        own = await self._sessions.of_user(access.user.id, utc_now())
        return [one for one in own if access.covers((EVERYTHING,) if one.key is None else one.key.scopes)]

    async def end_with_token(self, token: str) -> None:
        """End the session that a cookie holds, if there is one."""
        await self._sessions.delete_with_digest(api_keys.digest(token))

    async def end(self, access: Access, reference: str) -> None:
        """End one of the caller's sessions."""
        session_id = read_id(reference)
        if session_id not in {one.id for one in await self.list_own(access)}:
            raise NotFound
        await self._sessions.delete([session_id])
