"""Authenticates callers by their keys, and manages the keys of a user."""

import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from app.accounts.auth import api_keys
from app.accounts.auth.api_keys import Credential
from app.accounts.auth.repository import AccessRepository, FoundCaller, KeyRepository
from app.accounts.auth.schemas import PersonalApiKeyCreate
from app.accounts.auth.scopes import covers
from app.common.errors import (
    AppError,
    AuthenticationFailed,
    MissingScope,
    NotAuthenticated,
    NotFound,
    ValidationFailed,
)
from app.common.ids import read_id
from app.db.database import Database
from app.db.errors import is_transient_database_error
from app.db.models import PersonalApiKey, Project, User, utc_now

logger = logging.getLogger("abacus")


@dataclass(frozen=True, slots=True)
class Access:
    """The caller, what they may do, and the project that the request names by its id, if any.

    ``source`` is the key or the session that the caller shows: its kind and id.
    """

    user: User
    source: tuple[Literal["key", "session"], int]
    scopes: Sequence[str]
    _project: Project | None  # None also where the user is not a member of its organization

    def require(self, scope: str) -> None:
        """Refuse a key without the scope."""
        if not covers(self.scopes, scope):
            raise MissingScope(scope)

    def covers(self, scopes: Iterable[str]) -> bool:
        """Whether the key may do all that the scopes allow."""
        return all(covers(self.scopes, scope) for scope in scopes)

    def to_project(self) -> Project:
        """Return the project. One of an organization without the caller is not found, like one that does not exist."""
        if self._project is None:
            raise NotFound("Project not found.")
        return self._project


class AuthenticationService:
    """Looks keys up on connections of its own, so that a request never holds two at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def authenticate(self, credential: Credential | None, project_id: int | None) -> Access:
        """Return the access that a key gives; a missing or unknown key is refused. See ``Access.to_project``."""
        if credential is None:
            raise NotAuthenticated
        key = await AccessRepository(self._database).find(api_keys.digest(credential.value), project_id)
        if key is None:
            raise AuthenticationFailed(f"Personal API key found in request {credential.place} is invalid.")
        await self._update_last_used(key, KeyRepository.touch)
        return Access(key.user, ("key", key.id), key.scopes, key.project)

    async def authenticate_session(self, token: str, project_id: int | None) -> Access:
        """Return the access that a session of a browser gives; an unknown or expired one is refused."""
        found = await AccessRepository(self._database).find_session(api_keys.digest(token), project_id, utc_now())
        if found is None:
            raise AuthenticationFailed("You are signed out, or your session has ended.")
        await self._update_last_used(found, KeyRepository.touch_session)
        return Access(found.user, ("session", found.id), found.scopes, found.project)

    async def project_beside_key(self, key: str, project_id: object, *, scope: str, code: str) -> Project:
        """Return the project that a client names by its id, if the token that it sends is the personal key of a member.

        Raises
        ------
        PermissionDenied
            The key lacks the scope.
        ValidationFailed
            The project id is not a number: ``invalid_project``.
        AuthenticationFailed
            With this code: the key is invalid, or its user is not a member.
        """
        number = read_id(str(project_id))
        if number is None:
            raise ValidationFailed("Invalid Project ID.", code="invalid_project", attr="project_id")
        try:
            access = await self.authenticate(Credential(key, "body"), number)
            project = access.to_project()
        except AppError as error:
            raise AuthenticationFailed("Invalid Personal API key.", code=code) from error
        access.require(scope)
        return project

    async def _update_last_used(
        self, found: FoundCaller, touch: Callable[[KeyRepository, int, dt.datetime], Awaitable[None]]
    ) -> None:
        """Store when it was used, once an hour at most: otherwise every read would be a write."""
        now = utc_now()
        if found.last_used_at is not None and _hour(found.last_used_at) == _hour(now):
            return
        try:
            async with self._database.write() as session:
                await touch(KeyRepository(session), found.id, now)
        except Exception as error:  # a read must not fail because the database cannot be written to
            if not is_transient_database_error(error):
                raise
            logger.warning("could not update last_used_at of %d: %s", found.id, error)


class KeyService:
    """The caller's own API keys, as far as the calling key reaches.

    A key that may do more than the calling one is reported as not found, like those of other users: a limited key must
    not delete the key of a production service.
    """

    def __init__(self, repository: KeyRepository, access: Access) -> None:
        self._keys = repository
        self._access = access
        self._user = access.user

    async def get(self, reference: str, *, for_update: bool = False) -> PersonalApiKey:
        """Return the key that a path names; a non-numeric id is not found."""
        key_id = read_id(reference)
        key = await self._keys.find_of_user(self._user.id, key_id, for_update=for_update) if key_id else None
        if key is None or not self._access.covers(key.scopes):
            raise NotFound
        return key

    async def list_own(self) -> Sequence[PersonalApiKey]:
        return [key for key in await self._keys.of_user(self._user.id) if self._access.covers(key.scopes)]

    async def create(self, body: PersonalApiKeyCreate) -> tuple[PersonalApiKey, str]:
        """Create a key with at most the scopes of the calling one; return it with its value, which is not stored."""
        scopes = self._access.scopes if body.scopes is None else body.scopes
        for scope in scopes:
            self._access.require(scope)
        new = api_keys.generate_personal_key()
        return await self._keys.add(self._user, body.label, new, scopes), new.value

    async def delete(self, key: PersonalApiKey) -> None:
        await self._keys.delete(key)


def _hour(moment: dt.datetime) -> dt.datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
