"""The activity log in the database."""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from app.db.database import Database
from app.db.models import ActivityEntry, User
from app.db.sizes import fitting_limit

_ENTRIES_AT_A_TIME = 16


@dataclass(frozen=True)
class Author:
    """The user behind an entry."""

    id: int
    uuid: UUID
    distinct_id: str
    email: str
    first_name: str


@dataclass(frozen=True)
class RecordedActivity:
    """An entry as it is read back: what was done, when, and by whom, unless the user is gone."""

    id: int
    created_at: dt.datetime
    activity: str
    detail: dict[str, Any]
    author: Author | None


_AUTHOR = (User.id, User.uuid, User.distinct_id, User.email, User.first_name)
_SINCE = (
    select(ActivityEntry.id, ActivityEntry.created_at, ActivityEntry.activity, ActivityEntry.detail, *_AUTHOR)
    .outerjoin(User, User.id == ActivityEntry.user_id)
    .where(
        ActivityEntry.project_id == bindparam("project_id"),
        ActivityEntry.scope == bindparam("scope"),
        ActivityEntry.item_id == bindparam("item_id"),
        ActivityEntry.created_at >= bindparam("moment"),
        ActivityEntry.id > bindparam("last"),
    )
    .order_by(ActivityEntry.id)
    .limit(_ENTRIES_AT_A_TIME)
)


class ActivityQueries:
    """Reads the log of one project, each query on a connection of its own."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def since(self, scope: str, item_id: int, moment: dt.datetime) -> AsyncIterator[RecordedActivity]:
        """Yield entries of an item since a time, oldest first, a few at a time: they may be large."""
        wanted = {"project_id": self._project_id, "scope": scope, "item_id": item_id, "moment": moment}
        last, count = 0, _ENTRIES_AT_A_TIME
        while count == _ENTRIES_AT_A_TIME:
            count = 0
            for entry_id, created_at, activity, detail, *author in await self._database.fetch(
                _SINCE, {**wanted, "last": last}
            ):
                last, count = entry_id, count + 1
                by = None if author[0] is None else Author(*author)
                yield RecordedActivity(entry_id, created_at, activity, detail, by)


class ActivityRepository:
    """Bound to one project when built, so no query can forget the tenant. It only adds and reads."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def add(self, entry: ActivityEntry) -> None:
        entry.project_id = self._project_id
        self._session.add(entry)
        await self._session.flush()

    async def count(self, scope: str, item_id: int | None) -> int:
        return await self._session.scalar(select(func.count()).where(*self._conditions(scope, item_id))) or 0

    async def page(self, scope: str, item_id: int | None, limit: int, offset: int) -> Sequence[ActivityEntry]:
        """Return entries with their users, newest first; fewer than ``limit`` where they are large."""
        query = select(ActivityEntry).where(*self._conditions(scope, item_id)).order_by(ActivityEntry.id.desc())
        limit = await fitting_limit(self._session, query, (ActivityEntry.detail,), limit, offset)
        query = query.options(joinedload(ActivityEntry.user))
        return (await self._session.scalars(query.limit(limit).offset(offset))).all()

    def _conditions(self, scope: str, item_id: int | None) -> list[ColumnElement[bool]]:
        conditions = [ActivityEntry.project_id == self._project_id, ActivityEntry.scope == scope]
        return conditions if item_id is None else [*conditions, ActivityEntry.item_id == item_id]
