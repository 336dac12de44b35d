"""From the metrics of an experiment to fact queries."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.db.database import Database
from app.db.models import Experiment, Project, utc_now
from app.flags.filters import variant_keys
from app.metrics.aggregation.active_users import TRAILING_DAYS
from app.metrics.aggregation.trend import TrendCounts
from app.metrics.counting.fact_query import FactQuery
from app.metrics.queries.action_sources import ActionSources, compile_of_metric
from app.metrics.queries.active_days import ActivityService
from app.metrics.queries.cohort_references import CohortReferences
from app.metrics.queries.entities import (
    NO_FILTER,
    Actions,
    Filters,
    filters_in,
    read_entities,
    refuse_missing_actions,
)
from app.metrics.queries.funnel import funnel_fact_query
from app.metrics.queries.models import ExposureQuery, FunnelQuery, TrendQuery
from app.metrics.queries.parsing import (
    custom_exposure,
    filters_test_accounts,
    read_exposure,
    read_funnel,
    read_insight,
    read_trend,
    test_account_filter,
)
from app.metrics.queries.scope import FLAG_CALLED, ExperimentScope
from app.metrics.queries.trend import exposure_2022_fact_query, fitted, trend_buckets, trend_fact_query
from app.properties.filters import Group, InvalidFilter, parse_filter


class MetricQueryBuilder:
    """Builds the queries of one project's experiments."""

    def __init__(self, database: Database, project: Project) -> None:
        self._timezone = ZoneInfo(project.timezone)
        self._actions = ActionSources(database, project.id)
        self._activity = ActivityService(database, project.id)
        self._cohorts = CohortReferences(database, project.id)
        self._test_accounts, self._problem = _read_test_accounts(project.test_account_filters)

    def scope(self, experiment: Experiment) -> ExperimentScope:
        """Return what all metrics of an experiment share, as of now.

        Raises
        ------
        ValidationFailed
            When the experiment has not started.
        """
        if experiment.start_date is None:
            raise ValidationFailed("Experiment has not started yet", code="no_data")
        return ExperimentScope(
            flag_key=experiment.feature_flag.key,
            variants=variant_keys(experiment.feature_flag.filters),
            start=experiment.start_date,
            end=experiment.end_date,
            now=utc_now(),
            timezone=self._timezone,
        )

    async def funnel(self, filters: Filters) -> FunnelQuery:
        return read_funnel(filters, await self._prepared(filters), self._test_accounts)

    async def trend(self, filters: Filters) -> TrendQuery | None:
        return read_trend(filters, await self._prepared(filters), self._test_accounts)

    async def trend_fact_query(self, query: TrendQuery, scope: ExperimentScope) -> FactQuery[TrendCounts]:
        """Return the fact query of a trend; see ``fitted`` for its interval."""
        query = fitted(query, scope)
        days = await self._activity.days(scope) if query.math in TRAILING_DAYS else None
        return trend_fact_query(query, trend_buckets(query, scope), scope, days)

    async def exposure_2022_fact_query(
        self, query: TrendQuery, parameters: JsonValue, scope: ExperimentScope
    ) -> FactQuery[TrendCounts]:
        """Return the fact query of exposure: the experiment's own if it has one, else calls of the feature flag."""
        own = await self._own_exposure(parameters)
        return await self.trend_fact_query(own, scope) if own else exposure_2022_fact_query(scope, query.always)

    async def metrics(
        self, filters: Filters, parameters: JsonValue, scope: ExperimentScope
    ) -> Sequence[FactQuery[Any]]:
        """Return the fact queries of a metric, with that of exposure where the metric needs it."""
        if read_insight(filters) != "TRENDS":
            query = await self.funnel(filters)
            return [funnel_fact_query(query, scope)] if query.steps else []
        trend = await self.trend(filters)
        if trend is None:
            return []
        return [
            await self.trend_fact_query(trend, scope),
            await self.exposure_2022_fact_query(trend, parameters, scope),
        ]

    async def exposures(self, experiment: Experiment, scope: ExperimentScope) -> ExposureQuery:
        """Return what counts as exposure in an experiment; its target metric decides whether test accounts do."""
        own, unfiltered, problem = None, None, ""
        if filters := custom_exposure(experiment.parameters):
            try:
                actions = await self._prepared(filters)
                own = read_exposure(experiment.parameters, actions, self._test_accounts)
                unfiltered = read_exposure(experiment.parameters, actions)
            except ValidationFailed as refusal:
                problem = refusal.detail
            else:
                problem = "" if own else "It has no event or action that exists."
        if own is not None and unfiltered is not None:
            event_sets = [scope.event_set(own.entity), scope.event_set(unfiltered.entity)]
            name, variant_property, always = own.entity.step_name, scope.variant_property, own.always
        else:
            always = self._always(experiment.filters)
            await self._cohorts.check([always])
            event_sets = [scope.exposures(always), scope.exposures()]
            name, variant_property = FLAG_CALLED, "$feature_flag_response"
        leaves_out = always != NO_FILTER
        return ExposureQuery(event_sets if leaves_out else event_sets[:1], name, variant_property, leaves_out, problem)

    async def problem_of(self, filters: Filters) -> str:
        """Return why a metric has an entity or condition that matches no event; empty if it has none."""
        try:
            actions = await self._prepared(filters)
            refuse_missing_actions(read_entities(filters, actions, self._always(filters)))
        except ValidationFailed as refusal:
            return refusal.detail
        return ""

    async def _prepared(self, filters: Filters) -> Actions:
        """Return the actions that a metric mentions, when all that it filters by is compiled and known to exist."""
        always = self._always(filters)
        await compile_of_metric([always])
        actions = await self._actions.of(filters)
        steps = [source.filter for action in actions.values() for source in action.sources]
        await self._cohorts.check([always, *filters_in(filters), *steps])
        return actions

    def _always(self, filters: Filters) -> Group:
        """Return the filter on test accounts if the metric asks for it."""
        if self._problem and filters_test_accounts(filters):
            raise ValidationFailed(f"The project's test_account_filters: {self._problem}", attr="filters")
        return test_account_filter(filters, self._test_accounts)

    async def _own_exposure(self, parameters: JsonValue) -> TrendQuery | None:
        actions = await self._prepared(custom_exposure(parameters))
        return read_exposure(parameters, actions, self._test_accounts)


def _read_test_accounts(value: JsonValue) -> tuple[Group, str]:
    """Return the filter of a project, and why it is not understood, if it is older than what refuses it today."""
    try:
        return parse_filter(value), ""
    except InvalidFilter as error:
        return NO_FILTER, error.detail
