"""The salts of days in the database, which all processes share."""

import datetime as dt

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import CookielessSalt, Project
from app.db.upserts import insert_if_absent

_FIRST_DAY = dt.date(1970, 1, 1)


class SaltRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get_or_add(self, day: dt.date, new: bytes) -> bytes:
        """Return the salt of a day; the new one where there is none yet."""
        number = _number(day)
        await insert_if_absent(self._session, CookielessSalt, [{"day": number, "salt": new}])
        found = await self._session.scalar(select(CookielessSalt.salt).where(CookielessSalt.day == number))
        return found or new

    async def remove_before(self, day: dt.date) -> None:
        await self._session.execute(delete(CookielessSalt).where(CookielessSalt.day < _number(day)))

    async def timezone_of(self, project_id: int) -> str | None:
        """Return the time zone of a project, whose days its visitors' identifiers last."""
        return await self._session.scalar(select(Project.timezone).where(Project.id == project_id))


def _number(day: dt.date) -> int:
    return (day - _FIRST_DAY).days
