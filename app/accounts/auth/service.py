"""From a key to its user, and from a user to his keys."""

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from app.accounts.auth import api_keys as keys
from app.accounts.auth.api_keys import Credential
from app.accounts.auth.repository import AccessRepository, KeyRepository
from app.accounts.auth.schemas import PersonalApiKeyCreate
from app.accounts.auth.scopes import covers
from app.common.errors import (
    AppError,
    AuthenticationFailed,
    MissingScope,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    ValidationFailed,
)
from app.common.ids import read_id
from app.db.database import Database
from app.db.errors import is_transient_database_error
from app.db.models import PersonalApiKey, Project, User, utc_now

logger = logging.getLogger("abacus")


@dataclass(frozen=True, slots=True)
class Access:
    """Who is asking, and how he stands to the project that his request names by its number, if it does."""

    user: User
    key_id: int
    scopes: Sequence[str]
    _project: Project | None
    _is_member: bool

    def require(self, scope: str) -> None:
        """Refuse a key that may not do what the scope names."""
        if not covers(self.scopes, scope):
            raise MissingScope(scope)

    def to_project(self) -> Project:
        """Return the project, or refuse."""
        if self._project is None:
            raise NotFound("Project not found.")
        if not self._is_member:
            raise PermissionDenied
        return self._project


class AuthenticationService:
    """Looks keys up on connections of its own, so that a request never holds two at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def authenticate(self, credential: Credential | None, project_id: int | None) -> Access:
        """Return what the key opens. Who has none is refused; the project has its say in ``Access.to_project``."""
        if credential is None:
            raise NotAuthenticated
        key = await AccessRepository(self._database).find(keys.digest(credential.value), project_id)
        if key is None:
            raise AuthenticationFailed(f"Personal API key found in request {credential.place} is invalid.")
        await self._note_use(key.id, key.last_used_at)
        return Access(key.user, key.id, key.scopes, key.project, key.is_member)

    async def project_beside_key(self, key: str, project_id: object, *, code: str) -> Project:
        """Return the project that a client names by its number, if what it sends as the token is a member's key.

        Raises
        ------
        ValidationFailed
            What names the project is no number: ``invalid_project``.
        AuthenticationFailed
            With this code: the key is none, or not a member's.
        """
        number = read_id(str(project_id))
        if number is None:
            raise ValidationFailed("Invalid Project ID.", code="invalid_project", attr="project_id")
        try:
            return (await self.authenticate(Credential(key, "body"), number)).to_project()
        except AppError as error:
            raise AuthenticationFailed("Invalid Personal API key.", code=code) from error

    async def _note_use(self, key_id: int, last_used_at: dt.datetime | None) -> None:
        """Store the moment of use once an hour: it is for people who tidy up, and must not make every read a write."""
        now = utc_now()
        if last_used_at is not None and _hour(last_used_at) == _hour(now):
            return
        try:
            async with self._database.write() as session:
                await KeyRepository(session).touch(key_id, now)
        except Exception as error:  # whoever only reads is not to be refused because nobody can write
            if not is_transient_database_error(error):
                raise
            logger.warning("the use of key %d was not noted: %s", key_id, error)


class KeyService:
    """A user's personal API keys as he sees them himself; to him those of others do not exist."""

    def __init__(self, repository: KeyRepository, access: Access) -> None:
        self._keys = repository
        self._access = access
        self._user = access.user

    async def get(self, reference: str, *, for_update: bool = False) -> PersonalApiKey:
        """Return the key that a path names; whatever is no number names none."""
        key_id = read_id(reference)
        key = await self._keys.find_of_user(self._user.id, key_id, for_update=for_update) if key_id else None
        if key is None:
            raise NotFound
        return key

    async def list_own(self) -> Sequence[PersonalApiKey]:
        return await self._keys.of_user(self._user.id)

    async def create(self, body: PersonalApiKeyCreate) -> tuple[PersonalApiKey, str]:
        """Issue a key and return it with its value, which is not stored. It may do no more than the caller's own."""
        scopes = self._access.scopes if body.scopes is None else body.scopes
        for scope in scopes:
            self._access.require(scope)
        new = keys.generate_personal_key()
        return await self._keys.add(self._user, body.label, new, scopes), new.value

    async def delete(self, key: PersonalApiKey) -> None:
        await self._keys.delete(key)


def _hour(moment: dt.datetime) -> dt.datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
