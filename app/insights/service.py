"""Insights of one project: filters -> queries -> facts -> counts -> bodies."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from app.common import limits
from app.common.errors import ValidationFailed
from app.common.timestamps import from_microseconds
from app.db.database import Database
from app.db.models import Project, utc_now
from app.insights.answers import NO_VALUE, write_funnel, write_trend
from app.insights.dates import ALL, DEFAULT_FROM, read_end, read_start
from app.insights.first_event import first_event
from app.insights.requests import CUMULATIVE, InsightRequest
from app.insights.schemas import FunnelInsightRead, TrendInsightRead
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.facts.actor_keys import ActorKeyRepository
from app.metrics.facts.columns import NO_ACTOR
from app.metrics.queries.breakdown import PersonKeys
from app.metrics.queries.insights import ValueBreakdown, funnel_insight, trend_insight
from app.metrics.queries.scope import ExperimentScope, buckets
from app.metrics.queries.service import MetricQueryBuilder


class _ValuesOfEvents:
    """The values of a property of events: facts hold numbers of them."""

    person_keys: PersonKeys | None = None

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def texts(self, keys: Sequence[int]) -> list[str]:
        async with self._database.read() as session:
            known = await ActorKeyRepository(session, self._project_id).texts([key for key in keys if key != NO_ACTOR])
        return [known.get(key, NO_VALUE) for key in keys]


class _ValuesOfPersons:
    """The values of a property of persons, as they are today, by numbers."""

    def __init__(self, known: Mapping[int, str], person_keys: PersonKeys) -> None:
        self._known = known
        self.person_keys = person_keys

    async def texts(self, keys: Sequence[int]) -> list[str]:
        return [self._known.get(key, NO_VALUE) for key in keys]


@contextlib.contextmanager
def _without_field() -> Iterator[None]:
    """Raise refusals of metrics without the name of their field: an insight has none that is called ``filters``."""
    try:
        yield
    except ValidationFailed as refusal:
        if refusal.attr != "filters":
            raise
        raise ValidationFailed(refusal.detail, code=refusal.code) from refusal


class InsightService:
    """It opens short transactions of its own, as results do."""

    def __init__(self, database: Database, facts: FactService, queries: MetricQueryBuilder, project: Project) -> None:
        self._database = database
        self._facts = facts
        self._queries = queries
        self._project = project

    async def trend(self, request: InsightRequest) -> TrendInsightRead:
        """Count the series of a trend.

        Raises
        ------
        ValidationFailed
            When it cannot be read or counted, or would have too many points.
        """
        scope = await self._scope(request)
        with _without_field():
            queries = await self._queries.insight_trends(request.filters, request.restriction)
        ticks = buckets(scope, queries[0].interval if queries else "day")
        shown = 1 if request.breakdown is None else request.breakdown.limit
        if len(queries) * shown * len(ticks) > limits.INSIGHT_POINTS.value:
            raise ValidationFailed(limits.INSIGHT_POINTS.detail, code="too_many_points", attr="interval")
        values = await self._values(request.breakdown)
        fact_queries = [
            trend_insight(
                query,
                ticks,
                scope,
                await self._queries.days(query, scope),
                request.breakdown,
                values.person_keys,
                is_cumulative=request.display == CUMULATIVE,
            )
            for query in queries
        ]
        counts = await self._count(fact_queries)
        counted = [(one, await values.texts(one.keys.tolist())) for one in counts]
        return write_trend(request, scope, queries, counted, ticks)

    async def funnel(self, request: InsightRequest) -> FunnelInsightRead:
        """Count the steps of a funnel.

        Raises
        ------
        ValidationFailed
            When it cannot be read or counted.
        """
        scope = await self._scope(request)
        with _without_field():
            query = await self._queries.insight_funnel(request.filters, request.restriction)
        if not query.steps:
            raise ValidationFailed("A funnel needs at least one event or action", attr="events")
        values = await self._values(request.breakdown)
        [counts] = await self._count([funnel_insight(query, scope, request.breakdown, values.person_keys)])
        return write_funnel(request, scope, query, counts, await values.texts(counts.keys.tolist()))

    async def _count(self, queries: Sequence[FactQuery[Any]]) -> list[Any]:
        try:
            return await self._facts.counts(queries)
        finally:  # what was made until it took too long is there, too
            await self._facts.note_insight(queries)

    async def _scope(self, request: InsightRequest) -> ExperimentScope:
        now, timezone = utc_now(), ZoneInfo(self._project.timezone)
        end = read_end(request.date_to, now, timezone) if request.date_to else None
        if request.date_from == ALL:
            first = await first_event(self._database, self._project.id)
            start = now if first is None else min(from_microseconds(first), now)
        else:
            start = read_start(request.date_from or DEFAULT_FROM, now, timezone)
        if start > (end or now):
            raise ValidationFailed("date_from lies after date_to, or in the future", attr="date_from")
        return self._queries.insight_scope(start, None if end is None or end >= now else end, now)

    async def _values(self, breakdown: ValueBreakdown | None) -> _ValuesOfEvents | _ValuesOfPersons:
        if breakdown is None or breakdown.type == "event":
            return _ValuesOfEvents(self._database, self._project.id)
        return _ValuesOfPersons(*await self._facts.values_of_persons(breakdown.property))
