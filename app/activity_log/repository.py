"""The activity log in the database."""

import datetime as dt
from collections.abc import AsyncIterator, Sequence

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from app.db.models import ActivityEntry
from app.db.sizes import fitting_limit

_ENTRIES_AT_A_TIME = 16


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

    async def since(self, scope: str, item_id: int, moment: dt.datetime) -> AsyncIterator[ActivityEntry]:
        """Yield entries of an item since a time, with their users, oldest first, a few at a time: they may be large."""
        query = (
            select(ActivityEntry)
            .where(*self._conditions(scope, item_id), ActivityEntry.created_at >= moment)
            .options(joinedload(ActivityEntry.user))
            .order_by(ActivityEntry.id)
            .limit(_ENTRIES_AT_A_TIME)
        )
        last, count = 0, _ENTRIES_AT_A_TIME
        while count == _ENTRIES_AT_A_TIME:
            count = 0
            for entry in await self._session.scalars(query.where(ActivityEntry.id > last)):
                last, count = entry.id, count + 1
                yield entry

    def _conditions(self, scope: str, item_id: int | None) -> list[ColumnElement[bool]]:
        conditions = [ActivityEntry.project_id == self._project_id, ActivityEntry.scope == scope]
        return conditions if item_id is None else [*conditions, ActivityEntry.item_id == item_id]
