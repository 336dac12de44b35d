"""Counting trends whose mathematics look beyond the entity's own events of persons."""

import asyncio

import numpy as np
from numpy.typing import NDArray

from app.database import Database
from app.errors import ValidationFailed
from app.events.repository import EventRepository
from app.facts.activity import (
    TRAILING_DAYS,
    active_actors,
    is_activity_math,
    once_per_bucket,
    unique_per_bucket,
)
from app.facts.calendar import Ticks, ticks
from app.facts.service import FactService
from app.facts.sessions import MARGIN, with_durations
from app.facts.trend import TrendCounts, aggregate_trend
from app.facts.watches import ALL_SESSIONS
from app.results.queries import ExperimentScope, TrendQuery


class ActivityService:
    """Activity over days, groups and sessions of one project."""

    def __init__(self, database: Database, facts: FactService, project_id: int) -> None:
        self._database = database
        self._facts = facts
        self._project_id = project_id

    async def count(self, query: TrendQuery, scope: ExperimentScope, buckets: Ticks) -> TrendCounts:
        """Count a trend whose mathematics is one of activity, or whose numbers are durations of sessions."""
        [facts] = await self._facts.columns([query.watch(scope)], scope.window, scope.variants)
        count = len(scope.variants)
        if not is_activity_math(query.math):
            [sessions] = await self._facts.columns([ALL_SESSIONS], scope.window, scope.variants, margin=MARGIN)
            measured = once_per_bucket(with_durations(facts, sessions), buckets)
            return await asyncio.to_thread(aggregate_trend, measured, buckets, query.math, count)
        totals = await asyncio.to_thread(aggregate_trend, facts, buckets, "total", count)
        if query.math in TRAILING_DAYS:
            days = self._days(scope)
            busy = await self._busy(days, scope)
            trailing = TRAILING_DAYS[query.math]
            values = await asyncio.to_thread(active_actors, facts, buckets, days, busy, trailing, count)
        else:
            values = await asyncio.to_thread(unique_per_bucket, facts, buckets, count)
        return TrendCounts(values, totals.events, totals.without_variant, totals.other_variant)

    @staticmethod
    def _days(scope: ExperimentScope) -> Ticks:
        try:
            return ticks(scope.start, max(scope.start, scope.last), "day", scope.timezone)
        except ValueError as error:
            raise ValidationFailed(str(error), attr="filters") from error

    async def _busy(self, days: Ticks, scope: ExperimentScope) -> NDArray[np.bool_]:
        """Return for each day whether the project has any event inside the window."""
        starts = [max(int(start), scope.window.since) for start in days.starts]
        busy = np.zeros(len(days), dtype=np.bool_)
        async with self._database.read() as session:
            found = await EventRepository(session, self._project_id).busy_buckets(starts, scope.window.until)
        busy[found] = True
        return busy
