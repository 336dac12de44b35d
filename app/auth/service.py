"""From a key to its user."""

import datetime as dt

from app.auth import keys
from app.auth.keys import Credential
from app.auth.repository import KeyRepository
from app.database import Database
from app.errors import AuthenticationFailed, NotAuthenticated
from app.models import User, utc_now


class AuthenticationService:
    """Looks keys up in short transactions of its own, so that a request never holds two connections at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def authenticate(self, credential: Credential | None) -> User:
        if credential is None:
            raise NotAuthenticated
        async with self._database.read() as session:
            key = await KeyRepository(session).find(keys.digest(credential.value))
        if key is None:
            raise AuthenticationFailed(f"Personal API key found in request {credential.place} is invalid.")
        await self._note_use(key.id, key.last_used_at)
        return key.user

    async def _note_use(self, key_id: int, last_used_at: dt.datetime | None) -> None:
        """Store the moment of use once an hour: it is for people who tidy up, and must not make every read a write."""
        now = utc_now()
        if last_used_at is not None and _hour(last_used_at) == _hour(now):
            return
        async with self._database.write() as session:
            await KeyRepository(session).touch(key_id, now)


def _hour(moment: dt.datetime) -> dt.datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
