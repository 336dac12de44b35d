"""Keys and their users in the database."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.api_keys import NewKey
from app.accounts.auth.scopes import EVERYTHING
from app.db.database import Database
from app.db.detached import detached
from app.db.models import BrowserSession, OrganizationMembership, PersonalApiKey, Project, User

_USER = User.__table__.columns
_PROJECT = Project.__table__.columns

# Every request begins with one of these queries: the key or session, its user, and their membership of a project.
_MEMBERSHIP = (OrganizationMembership.organization_id == Project.organization_id) & (
    OrganizationMembership.user_id == User.id
)
_OF_KEY: Select[*tuple[Any, ...]] = (
    select(
        PersonalApiKey.id,
        PersonalApiKey.last_used_at,
        PersonalApiKey.scopes,
        OrganizationMembership.id,
        *_USER,
        *_PROJECT,
    )
    .select_from(PersonalApiKey)
    .join(User, User.id == PersonalApiKey.user_id)
    .outerjoin(Project, Project.id == bindparam("project_id"))
    .outerjoin(OrganizationMembership, _MEMBERSHIP)
    .where(PersonalApiKey.digest == bindparam("digest"), User.is_active)
)
_OF_SESSION: Select[*tuple[Any, ...]] = (
    select(
        BrowserSession.id,
        BrowserSession.last_used_at,
        PersonalApiKey.scopes,
        OrganizationMembership.id,
        *_USER,
        *_PROJECT,
    )
    .select_from(BrowserSession)
    .join(User, User.id == BrowserSession.user_id)
    .outerjoin(PersonalApiKey, PersonalApiKey.id == BrowserSession.key_id)
    .outerjoin(Project, Project.id == bindparam("project_id"))
    .outerjoin(OrganizationMembership, _MEMBERSHIP)
    .where(
        BrowserSession.digest == bindparam("digest"),
        BrowserSession.expires_at > bindparam("now", type_=BrowserSession.expires_at.type),
        User.is_active,
    )
)


@dataclass(frozen=True, slots=True)
class FoundCaller:
    """A key or session of an active user, and the requested project if the user is a member of its organization."""

    id: int
    last_used_at: dt.datetime | None
    scopes: Sequence[str]
    user: User
    project: Project | None


class AccessRepository:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, digest: str, project_id: int | None) -> FoundCaller | None:
        """Return the key with a digest."""
        return _read(await self._database.fetch(_OF_KEY, {"digest": digest, "project_id": project_id}))

    async def find_session(self, digest: str, project_id: int | None, now: dt.datetime) -> FoundCaller | None:
        """Return the session with a digest, unless it has expired."""
        parameters = {"digest": digest, "project_id": project_id, "now": now}
        return _read(await self._database.fetch(_OF_SESSION, parameters))


def _read(rows: Sequence[tuple[Any, ...]]) -> FoundCaller | None:
    if not rows:
        return None
    found_id, last_used_at, scopes, membership_id, *values = rows[0]
    of_user, of_project = values[: len(_USER)], values[len(_USER) :]
    project = detached(Project, _PROJECT.keys(), of_project) if membership_id is not None else None
    user = detached(User, _USER.keys(), of_user)
    return FoundCaller(found_id, last_used_at, (EVERYTHING,) if scopes is None else scopes, user, project)


class KeyRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def touch(self, key_id: int, moment: dt.datetime) -> None:
        await self._session.execute(
            update(PersonalApiKey).where(PersonalApiKey.id == key_id).values(last_used_at=moment)
        )

    async def touch_session(self, session_id: int, moment: dt.datetime) -> None:
        await self._session.execute(
            update(BrowserSession).where(BrowserSession.id == session_id).values(last_used_at=moment)
        )

    async def add(self, user: User, label: str, key: NewKey, scopes: Sequence[str]) -> PersonalApiKey:
        row = PersonalApiKey(user_id=user.id, label=label, mask=key.mask, digest=key.digest, scopes=list(scopes))
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
        """Return a key if it belongs to the user, on request locked against other writers."""
        query = select(PersonalApiKey).where(PersonalApiKey.user_id == user_id, PersonalApiKey.id == key_id)
        return await self._session.scalar(query.with_for_update() if for_update else query)

    async def get(self, key_id: int) -> PersonalApiKey | None:
        return await self._session.get(PersonalApiKey, key_id)

    async def delete(self, key: PersonalApiKey) -> None:
        await self._session.delete(key)
        await self._session.flush()
