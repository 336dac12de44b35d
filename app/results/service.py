"""Answers the questions of an experiment: filters -> query -> facts -> counts -> statistics -> body."""

import asyncio
import datetime as dt
from collections.abc import Mapping
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from app.database import Database
from app.errors import ValidationFailed
from app.events.repository import EventRepository
from app.facts.activity import is_activity_math
from app.facts.calendar import Ticks, ticks
from app.facts.funnel import FunnelCounts
from app.facts.service import FactService
from app.facts.trend import TrendCounts, aggregate_trend, unique_actors
from app.facts.watches import Watch
from app.flags.filters import variant_keys
from app.models import Experiment, Project, utc_now
from app.properties.filters import parse_filter
from app.results.activity import ActivityService
from app.results.entities import event_names, read_entities, refuse_missing_actions
from app.results.funnel import conversion_rates, count_funnel, judge_funnel
from app.results.queries import (
    ExperimentScope,
    FunnelQuery,
    TrendQuery,
    read_exposure,
    read_funnel,
    read_insight,
    read_trend,
)
from app.results.schemas import FunnelResultsRead, TrendResultsRead
from app.results.trend import judge_trend, totals
from app.statistics.errors import ExperimentDataError, NoControlVariant

MAX_EXPOSURE = 2.0**53  # beyond it floating point has no whole numbers of its own

Filters = Mapping[str, JsonValue]


class ResultsService:
    """Results of one project's experiments.

    Works on experiments that are loaded already, outside any request's transaction: it opens short ones of its own.
    """

    def __init__(self, database: Database, facts: FactService, project: Project) -> None:
        self._database = database
        self._facts = facts
        self._project = project
        self._activity = ActivityService(database, facts, project.id)
        self._test_accounts = parse_filter(project.test_account_filters)

    async def results(self, experiment: Experiment) -> FunnelResultsRead | TrendResultsRead:
        """Return the verdict on the target metric."""
        if not experiment.filters:
            raise ValidationFailed("Experiment has no target metric")
        scope = self._scope(experiment)
        try:
            if read_insight(experiment.filters) == "TRENDS":
                return await self._trend(experiment, scope)
            return await self._funnel(experiment.filters, scope)
        except ExperimentDataError as error:
            raise ValidationFailed(str(error), code=error.code) from error

    async def secondary_results(self, experiment: Experiment, index: int) -> dict[str, float]:
        """Return one figure per variant for the secondary metric at a place of the list."""
        filters = _secondary_filters(experiment, index)
        scope = self._scope(experiment)
        insight = read_insight(filters)
        if insight == "TRENDS":
            trend = read_trend(filters, test_accounts=self._test_accounts)
            return totals((await self._count_trend(trend, scope))[0], scope.variants) if trend else {}
        if insight == "FUNNELS":
            funnel = read_funnel(filters, test_accounts=self._test_accounts)
            return conversion_rates(await self._count_funnel(funnel, scope), scope.variants) if funnel.steps else {}
        raise ValidationFailed("Secondary metrics need to be funnel or trend insights")

    async def materialise(self, experiment: Experiment) -> None:
        """Bring the facts of all metrics up to date ahead of the next reader."""
        scope = self._scope(experiment)
        metrics = [experiment.filters, *_all_secondary_filters(experiment)]
        watches: list[Watch] = []
        for filters in metrics:
            try:
                watches += self._watches(filters, experiment.parameters, scope)
            except ValidationFailed:
                continue  # told to whoever asks for this metric's results
        if watches:
            await self._facts.materialise(watches)

    def _watches(self, filters: Filters, parameters: JsonValue, scope: ExperimentScope) -> list[Watch]:
        """Return what a metric watches, exposures included where it needs them."""
        if read_insight(filters) != "TRENDS":
            return read_funnel(filters, test_accounts=self._test_accounts).watches(scope)
        trend = read_trend(filters, test_accounts=self._test_accounts)
        if trend is None:
            return []
        own = read_exposure(parameters, test_accounts=self._test_accounts)
        return [trend.watch(scope), own.watch(scope) if own else scope.exposures(trend.always)]

    async def requires_flag_implementation(self, query: Filters) -> bool:
        """Whether none of the metric's events of the last seven days names a variant of any flag."""
        entities = read_entities(query)
        refuse_missing_actions(entities)
        timezone = ZoneInfo(self._project.timezone)
        today = utc_now().astimezone(timezone).replace(hour=0, minute=0, second=0, microsecond=0)
        async with self._database.read() as session:
            found = await EventRepository(session, self._project.id).any_naming_a_variant(
                event_names(entities), today - dt.timedelta(days=7), today + dt.timedelta(days=1)
            )
        return not found

    def _scope(self, experiment: Experiment) -> ExperimentScope:
        if experiment.start_date is None:
            raise ValidationFailed("Experiment has not started yet", code="no_data")
        return ExperimentScope(
            flag_key=experiment.feature_flag.key,
            variants=variant_keys(experiment.feature_flag.filters),
            start=experiment.start_date,
            end=experiment.end_date,
            now=utc_now(),
            timezone=ZoneInfo(self._project.timezone),
        )

    async def _funnel(self, filters: Filters, scope: ExperimentScope) -> FunnelResultsRead:
        query = read_funnel(filters, test_accounts=self._test_accounts)
        if not query.steps:
            raise NoControlVariant
        counts = await self._count_funnel(query, scope)
        return judge_funnel(query, counts, filters, scope)

    async def _count_funnel(self, query: FunnelQuery, scope: ExperimentScope) -> FunnelCounts:
        columns = await self._facts.columns(query.watches(scope), scope.window, scope.variants)
        return await asyncio.to_thread(count_funnel, query, columns, len(scope.variants))

    async def _trend(self, experiment: Experiment, scope: ExperimentScope) -> TrendResultsRead:
        filters = experiment.filters
        query = read_trend(filters, test_accounts=self._test_accounts)
        if query is None:
            raise NoControlVariant
        counts, buckets = await self._count_trend(query, scope)
        exposed = await self._count_exposures(experiment.parameters, query, scope)
        return judge_trend(query, counts, buckets, exposed, filters, scope)

    async def _count_exposures(
        self, parameters: JsonValue, query: TrendQuery, scope: ExperimentScope
    ) -> NDArray[np.int64] | NDArray[np.float64]:
        """Return the exposure of each variant: what the experiment says it is, else persons who were shown it."""
        own = read_exposure(parameters, test_accounts=self._test_accounts)
        if own is not None:
            counts, _ = await self._count_trend(own, scope)
            # Only whole amounts from 1 can be exposure: others are as good as none.
            return np.floor(np.clip(np.nan_to_num(counts.count), 0, MAX_EXPOSURE))
        [exposures] = await self._facts.columns([scope.exposures(query.always)], scope.window, scope.variants)
        return await asyncio.to_thread(unique_actors, exposures, len(scope.variants))

    async def _count_trend(self, query: TrendQuery, scope: ExperimentScope) -> tuple[TrendCounts, Ticks]:
        try:
            buckets = ticks(scope.start, max(scope.start, scope.last), query.interval, scope.timezone)
        except ValueError as error:
            raise ValidationFailed(str(error), attr="filters") from error
        if is_activity_math(query.math) or query.measures_sessions:
            return await self._activity.count(query, scope, buckets), buckets
        [columns] = await self._facts.columns([query.watch(scope)], scope.window, scope.variants)
        return await asyncio.to_thread(aggregate_trend, columns, buckets, query.math, len(scope.variants)), buckets


def _secondary_filters(experiment: Experiment, index: int) -> Filters:
    metrics = experiment.secondary_metrics
    if not isinstance(metrics, list) or not 0 <= index < len(metrics):
        raise ValidationFailed("Invalid metric ID")
    metric = metrics[index]
    filters = metric.get("filters") if isinstance(metric, dict) else None
    if not isinstance(filters, dict) or not filters:
        raise ValidationFailed("Invalid metric ID")
    return filters


def _all_secondary_filters(experiment: Experiment) -> list[Filters]:
    metrics = experiment.secondary_metrics
    filters = (
        [metric.get("filters") for metric in metrics if isinstance(metric, dict)] if isinstance(metrics, list) else []
    )
    return [one for one in filters if isinstance(one, dict) and one]
