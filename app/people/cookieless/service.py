"""Gives visitors without cookies their identifiers, with salts that are forgotten."""

import asyncio
import datetime as dt
import logging
import secrets
import time
from collections.abc import Callable
from zoneinfo import ZoneInfo

from app.db.database import Database
from app.db.errors import DATABASE_ERRORS
from app.db.models import utc_now
from app.people.cookieless.repository import SaltRepository
from app.people.cookieless.visitors import SALT_BYTES, Visitor, identifier

# A salt is kept for the events of its day that arrive late: for two days after the end of it.
KEPT_DAYS = 2
_SECONDS_BETWEEN_REMOVALS = 3600.0
_ZONE_SECONDS = 60.0
_MAX_ZONES = 1_000

logger = logging.getLogger("abacus")


class CookielessService:
    """There is one instance for the process, which keeps the salts of the days that may still be asked for."""

    def __init__(
        self, database: Database, *, is_enabled: bool = True, clock: Callable[[], dt.datetime] = utc_now
    ) -> None:
        self._database = database
        self._is_enabled = is_enabled
        self._clock = clock
        self._salts: dict[dt.date, bytes] = {}
        self._zones: dict[int, tuple[ZoneInfo, float]] = {}

    async def distinct_id(self, project_id: int, visitor: Visitor, moment: dt.datetime | None = None) -> str | None:
        """Return the distinct id of a visitor on the day of a moment, by default now, in the project's time zone.

        Moments that are too late or still ahead count as now. None where visitors are not told apart: by the setting,
        or because too little is known of this one.
        """
        if not self._is_enabled or not visitor.is_known:
            return None
        zone = await self._zone_of(project_id)
        now = self._clock()
        day = (moment or now).astimezone(zone).date()
        if not self._first_day(now) <= day <= now.astimezone(zone).date():
            day = now.astimezone(zone).date()
        return identifier(await self._salt_of(day), project_id, visitor)

    async def forget(self) -> None:
        """Remove the salts of days that are over."""
        first = self._first_day(self._clock())
        self._salts = {day: salt for day, salt in self._salts.items() if day >= first}
        async with self._database.write() as session:
            await SaltRepository(session).remove_before(first)

    async def keep_forgetting(self) -> None:
        """Remove old salts now and every hour, until cancelled: also where no visitor comes any more."""
        while True:
            try:
                await self.forget()
            except DATABASE_ERRORS:
                logger.warning("old salts of visitors without cookies were not removed; retrying in an hour")
            await asyncio.sleep(_SECONDS_BETWEEN_REMOVALS)

    def _first_day(self, now: dt.datetime) -> dt.date:
        return now.astimezone(dt.UTC).date() - dt.timedelta(days=KEPT_DAYS)

    async def _salt_of(self, day: dt.date) -> bytes:
        salt = self._salts.get(day)
        if salt is None:
            async with self._database.write() as session:
                repository = SaltRepository(session)
                salt = await repository.get_or_add(day, secrets.token_bytes(SALT_BYTES))
                await repository.remove_before(self._first_day(self._clock()))
            self._salts[day] = salt
        return salt

    async def _zone_of(self, project_id: int) -> ZoneInfo:
        known = self._zones.get(project_id)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        async with self._database.read() as session:
            name = await SaltRepository(session).timezone_of(project_id)
        zone = ZoneInfo(name or "UTC")
        self._zones.pop(project_id, None)
        self._zones[project_id] = (zone, time.monotonic() + _ZONE_SECONDS)
        if len(self._zones) > _MAX_ZONES:
            del self._zones[next(iter(self._zones))]
        return zone
