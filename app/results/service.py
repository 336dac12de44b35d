"""Answers the questions of an experiment: filters -> query -> facts -> counts -> statistics -> body."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from app.database import Database
from app.errors import ValidationFailed
from app.events.repository import EventRepository
from app.facts.activity import TRAILING_DAYS
from app.facts.calendar import Ticks, ticks
from app.facts.metric import CountsT, Metric
from app.facts.service import FactService
from app.facts.trend import TrendCounts
from app.flags.filters import variant_keys
from app.models import Experiment, Project, utc_now
from app.monitoring.metrics import RESULTS_SECONDS
from app.properties.filters import parse_filter
from app.results.actions import ActionSources
from app.results.activity import ActivityService
from app.results.entities import event_names, read_entities, refuse_missing_actions
from app.results.funnel import conversion_rates, funnel_metric, judge_funnel
from app.results.queries import (
    ExperimentScope,
    TrendQuery,
    custom_exposure,
    read_exposure,
    read_funnel,
    read_insight,
    read_trend,
)
from app.results.schemas import FunnelResultsRead, TrendResultsRead
from app.results.trend import exposure_metric, judge_trend, totals, trend_metric
from app.statistics.errors import ExperimentDataError, NoControlVariant

Filters = Mapping[str, JsonValue]


class ResultsService:
    """Results of one project's experiments.

    Works on experiments that are loaded already, outside any request's transaction: it opens short ones of its own.
    """

    def __init__(self, database: Database, facts: FactService, project: Project) -> None:
        self._database = database
        self._facts = facts
        self._project = project
        self._actions = ActionSources(database, project.id)
        self._activity = ActivityService(database, project.id)
        self._test_accounts = parse_filter(project.test_account_filters)

    async def results(self, experiment: Experiment, *, afresh: bool = False) -> FunnelResultsRead | TrendResultsRead:
        """Return the verdict on the target metric; ``afresh`` counts all facts again."""
        if not experiment.filters:
            raise ValidationFailed("Experiment has no target metric")
        scope = self._scope(experiment)
        try:
            if read_insight(experiment.filters) == "TRENDS":
                with RESULTS_SECONDS.labels("trend").time():
                    return await self._trend(experiment, scope, afresh=afresh)
            with RESULTS_SECONDS.labels("funnel").time():
                return await self._funnel(experiment.filters, scope, afresh=afresh)
        except ExperimentDataError as error:
            raise ValidationFailed(str(error), code=error.code) from error

    async def secondary_results(self, experiment: Experiment, index: int) -> dict[str, float]:
        """Return one figure per variant for the secondary metric at a place of the list."""
        with RESULTS_SECONDS.labels("secondary").time():
            return await self._secondary_results(experiment, index)

    async def _secondary_results(self, experiment: Experiment, index: int) -> dict[str, float]:
        filters = _secondary_filters(experiment, index)
        scope = self._scope(experiment)
        insight = read_insight(filters)
        if insight == "TRENDS":
            trend = read_trend(filters, await self._actions.of(filters), self._test_accounts)
            if trend is None:
                return {}
            [counts] = await self._count([await self._trend_metric(trend, scope)])
            return totals(counts, scope.variants)
        if insight == "FUNNELS":
            funnel = read_funnel(filters, await self._actions.of(filters), self._test_accounts)
            if not funnel.steps:
                return {}
            [reached] = await self._count([funnel_metric(funnel, scope)])
            return conversion_rates(reached, scope.variants)
        raise ValidationFailed("Secondary metrics need to be funnel or trend insights")

    async def keep_up(self, experiment: Experiment) -> None:
        """Count all metrics ahead of the next reader, who then has little left to wait for."""
        scope = self._scope(experiment)
        for filters in (experiment.filters, *_all_secondary_filters(experiment)):
            try:
                await self._count(await self._metrics(filters, experiment.parameters, scope))
            except ValidationFailed:
                continue  # told to whoever asks for this metric's results

    async def complete_series(self, experiment: Experiment) -> set[int]:
        """Bring the series of all metrics up to date and return their ids: from then on they need no event any more."""
        if experiment.start_date is None:
            return set()
        scope = self._scope(experiment)
        found: set[int] = set()
        for filters in (experiment.filters, *_all_secondary_filters(experiment)):
            try:
                metrics = await self._metrics(filters, experiment.parameters, scope)
            except ValidationFailed:
                continue  # it has no results, with or without events
            found.update((await self._facts.catch_up(metrics)).ids.values())
        return found

    async def requires_flag_implementation(self, query: Filters) -> bool:
        """Whether none of the metric's events of the last seven days names a variant of any flag."""
        entities = read_entities(query, await self._actions.of(query))
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

    async def _funnel(self, filters: Filters, scope: ExperimentScope, *, afresh: bool) -> FunnelResultsRead:
        query = read_funnel(filters, await self._actions.of(filters), self._test_accounts)
        if not query.steps:
            raise NoControlVariant
        [counts] = await self._count([funnel_metric(query, scope)], afresh=afresh)
        return judge_funnel(query, counts, filters, scope)

    async def _trend(self, experiment: Experiment, scope: ExperimentScope, *, afresh: bool) -> TrendResultsRead:
        query = read_trend(experiment.filters, await self._actions.of(experiment.filters), self._test_accounts)
        if query is None:
            raise NoControlVariant
        metrics = [
            await self._trend_metric(query, scope),
            await self._exposure_metric(query, experiment.parameters, scope),
        ]
        counts, exposed = await self._count(metrics, afresh=afresh)
        return judge_trend(query, counts, buckets_of(query, scope), exposed, experiment.filters, scope)

    async def _metrics(self, filters: Filters, parameters: JsonValue, scope: ExperimentScope) -> Sequence[Metric[Any]]:
        """Return the questions that a metric asks, exposures included where it needs them."""
        if read_insight(filters) != "TRENDS":
            query = read_funnel(filters, await self._actions.of(filters), self._test_accounts)
            return [funnel_metric(query, scope)] if query.steps else []
        trend = read_trend(filters, await self._actions.of(filters), self._test_accounts)
        if trend is None:
            return []
        return [await self._trend_metric(trend, scope), await self._exposure_metric(trend, parameters, scope)]

    async def _trend_metric(self, query: TrendQuery, scope: ExperimentScope) -> Metric[TrendCounts]:
        days = await self._activity.days(scope) if query.math in TRAILING_DAYS else None
        return trend_metric(query, buckets_of(query, scope), scope, days)

    async def _exposure_metric(
        self, query: TrendQuery, parameters: JsonValue, scope: ExperimentScope
    ) -> Metric[TrendCounts]:
        """Return what counts as exposure: what the experiment says it is, else persons who were shown a variant."""
        actions = await self._actions.of(custom_exposure(parameters))
        own = read_exposure(parameters, actions, self._test_accounts)
        return await self._trend_metric(own, scope) if own else exposure_metric(scope, query.always)

    async def _count(self, metrics: Sequence[Metric[CountsT]], *, afresh: bool = False) -> list[CountsT]:
        """Return the counts of metrics as of one moment."""
        series = await self._facts.catch_up(metrics)
        return [await self._facts.count(metric, series, afresh=afresh) for metric in metrics]


def buckets_of(query: TrendQuery, scope: ExperimentScope) -> Ticks:
    """Return the buckets of a trend, from the experiment's start to its end or now."""
    try:
        return ticks(scope.start, max(scope.start, scope.last), query.interval, scope.timezone)
    except ValueError as error:
        raise ValidationFailed(str(error), attr="filters") from error


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
