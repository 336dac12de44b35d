"""From the metrics of an experiment to fact queries."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.common.nouns import PERSONS
from app.db.database import Database
from app.db.models import Experiment, Project, utc_now
from app.events.repository import EventQueries
from app.flags.filters import group_type_index_of, variant_keys
from app.flags.holdouts import holdout_variant, read_holdout
from app.metrics.aggregation.active_users import TRAILING_DAYS, Days
from app.metrics.aggregation.trend import TrendCounts
from app.metrics.counting.basis import rest_on_events, rest_on_more
from app.metrics.counting.fact_query import FactQuery
from app.metrics.queries.action_sources import ActionSources, compile_of_metric
from app.metrics.queries.active_days import ActivityService
from app.metrics.queries.cohort_references import CohortReferences
from app.metrics.queries.entities import (
    NO_FILTER,
    Actions,
    Entity,
    Filters,
    filters_in,
    read_entities,
    refuse_missing_actions,
)
from app.metrics.queries.exposure_attribution import (
    attributed,
    attribution_of,
    exposed_fact_query,
    read_attribution,
)
from app.metrics.queries.funnel import funnel_fact_query
from app.metrics.queries.models import ExposureQuery, FunnelQuery, TrendQuery
from app.metrics.queries.parsing import (
    custom_exposure,
    filters_test_accounts,
    read_exposure,
    read_funnel,
    read_funnel_of,
    read_insight,
    read_trend,
    read_trends_of,
    test_account_filter,
)
from app.metrics.queries.scope import EXPOSURE_EVENTS, FLAG_CALLED, FLAG_RESPONSE, AttributedBy, ExperimentScope
from app.metrics.queries.trend import exposure_2022_fact_query, fitted, trend_buckets, trend_fact_query
from app.metrics.queries.typed.reading import (
    TypedQuery,
    filters_of,
    nodes_of,
    parse_criteria,
    parse_metric,
    read_nodes,
    read_typed,
)
from app.metrics.queries.typed.rules import TypedRules, excluded_variants, read_confidence, read_lookback
from app.metrics.queries.typed.schemas import Node
from app.people.groups.repository import GroupRepository
from app.properties.filters import Group, InvalidFilter, parse_filter
from app.properties.splitting import both


class MetricQueryBuilder:
    """Builds the queries of one project's experiments."""

    def __init__(self, database: Database, project: Project) -> None:
        self.database = database
        self.project_id = project.id
        self._timezone = ZoneInfo(project.timezone)
        self._default_attribution: AttributedBy = read_attribution(project.default_attribution) or "events"
        self._default_cuped = project.default_cuped
        self._actions = ActionSources(database, project.id)
        self._activity = ActivityService(database, project.id)
        self._events = EventQueries(database, project.id)
        self._cohorts = CohortReferences(database, project.id)
        self._test_accounts, self._problem = _read_test_accounts(project.test_account_filters)

    @property
    def knows_test_accounts(self) -> bool:
        """Whether the project says which events are of test accounts."""
        return self._test_accounts != NO_FILTER

    def scope(self, experiment: Experiment) -> ExperimentScope:
        """Return what all metrics of an experiment share, as of now.

        Raises
        ------
        ValidationFailed
            When the experiment has not started.
        """
        if experiment.start_date is None:
            raise ValidationFailed("Experiment has not started yet", code="no_data")
        return self.planned_scope(experiment)

    def planned_scope(self, experiment: Experiment) -> ExperimentScope:
        """Return the scope of an experiment that may not have started, as if it started now."""
        now = utc_now()
        return ExperimentScope(
            flag_key=experiment.feature_flag.key,
            variants=variant_keys(experiment.feature_flag.filters),
            start=experiment.start_date or now,
            end=experiment.end_date,
            now=now,
            timezone=self._timezone,
            group_type_index=group_type_index_of(experiment.feature_flag.filters),
            attributed_by=read_attribution(attribution_of(experiment.parameters)) or self._default_attribution,
            holdouts=holdout_variants(experiment),
        )

    def insight_scope(self, start: dt.datetime, end: dt.datetime | None, now: dt.datetime) -> ExperimentScope:
        """Return the scope of an insight, which is about no experiment: its events name no variant."""
        return ExperimentScope("", (), start, end, now, self._timezone, attributed_by="exposure")

    async def insight_trends(self, filters: Filters, restriction: Group) -> list[TrendQuery]:
        """Return the queries of all series of a trend, of events that pass a filter."""
        always = both(self._always(filters), restriction)
        return read_trends_of(filters, await self._prepared(filters, restriction), always)

    async def insight_funnel(self, filters: Filters, restriction: Group) -> FunnelQuery:
        """Return the query of a funnel of events that pass a filter."""
        always = both(self._always(filters), restriction)
        return read_funnel_of(filters, await self._prepared(filters, restriction), always)

    async def days(self, query: TrendQuery, scope: ExperimentScope) -> Days | None:
        """Return the days that a trend by activity over days needs; None for others."""
        return await self._activity.days(scope) if query.math in TRAILING_DAYS else None

    async def funnel(self, filters: Filters) -> FunnelQuery:
        return read_funnel(filters, await self._prepared(filters), self._test_accounts)

    async def trend(self, filters: Filters) -> TrendQuery | None:
        return read_trend(filters, await self._prepared(filters), self._test_accounts)

    async def trend_fact_query(self, query: TrendQuery, scope: ExperimentScope) -> FactQuery[TrendCounts]:
        """Return the fact query of a trend; see ``fitted`` for its interval."""
        query = fitted(query, scope)
        return trend_fact_query(query, trend_buckets(query, scope), scope, await self.days(query, scope))

    async def trend_fact_queries(
        self, query: TrendQuery, parameters: JsonValue, exposures: ExposureQuery | None, scope: ExperimentScope
    ) -> Sequence[FactQuery[TrendCounts]]:
        """Return the fact queries of a trend and of its exposure.

        Exposure is the experiment's own if it has one, else calls of the feature flag; where events are attributed by
        exposure, it is what they are attributed by.
        """
        trend = attributed(await self.trend_fact_query(query, scope), exposures, scope)
        if exposures is not None and scope.attributed_by == "exposure":
            return [trend, exposed_fact_query(exposures, scope)]
        own = await self.own_exposure(parameters)
        weights = await self.trend_fact_query(own, scope) if own else exposure_2022_fact_query(scope, query.always)
        return [trend, weights]

    async def metrics(
        self, filters: Filters, parameters: JsonValue, exposures: ExposureQuery | None, scope: ExperimentScope
    ) -> Sequence[FactQuery[Any]]:
        """Return the fact queries of a metric, with that of exposure where the metric needs it."""
        if read_insight(filters) != "TRENDS":
            query = await self.funnel(filters)
            return [attributed(funnel_fact_query(query, scope), exposures, scope)] if query.steps else []
        trend = await self.trend(filters)
        return [] if trend is None else await self.trend_fact_queries(trend, parameters, exposures, scope)

    async def exposures(self, experiment: Experiment, scope: ExperimentScope) -> ExposureQuery:
        """Return what counts as exposure in an experiment.

        Its ``exposure_criteria`` say so; without them ``custom_exposure_filter``, and the target metric decides whether
        test accounts count.
        """
        if experiment.exposure_criteria:
            return await self._exposures_by_criteria(experiment, scope)
        own, unfiltered, problem = None, None, ""
        if filters := custom_exposure(experiment.parameters):
            try:
                actions = await self._prepared(filters)
                own = read_exposure(experiment.parameters, actions, self._test_accounts)
                unfiltered = read_exposure(experiment.parameters, actions)
            except ValidationFailed as refusal:
                problem = refusal.detail
            else:
                problem = "" if own else "It has no event or action."
        if own is not None and unfiltered is not None:
            event_sets = [
                scope.event_set(one.entity, actor_required=False, names_variant=True) for one in (own, unfiltered)
            ]
            name, variant_property, always = own.entity.step_name, scope.variant_property, own.always
        else:
            always = self._always(experiment.filters)
            await self._cohorts.check([always])
            event_sets = [scope.exposures(always), scope.exposures()]
            name, variant_property = FLAG_CALLED, FLAG_RESPONSE
        leaves_out = always != NO_FILTER
        event_sets = event_sets if leaves_out else event_sets[:1]
        unit, holdouts = await self.unit(scope), scope.holdouts
        return ExposureQuery(event_sets, name, variant_property, leaves_out, problem, unit, holdouts=holdouts)

    async def exposures_to_attribute_by(self, experiment: Experiment, scope: ExperimentScope) -> ExposureQuery | None:
        """Return the exposures that tell the variant of events; None where events tell it themselves."""
        return await self.exposures(experiment, scope) if scope.attributed_by == "exposure" else None

    async def unit(self, scope: ExperimentScope) -> str:
        """Return the name of an experiment's units, in the plural."""
        if scope.group_type_index is None:
            return PERSONS
        rest_on_more()
        async with self.database.read() as session:
            return await GroupRepository(session, self.project_id).unit(scope.group_type_index)

    async def _exposures_by_criteria(self, experiment: Experiment, scope: ExperimentScope) -> ExposureQuery:
        criteria = parse_criteria(experiment.exposure_criteria)
        accounts: Filters = {"filter_test_accounts": criteria.filterTestAccounts}
        await self._prepared(accounts)
        always = self._always(accounts)
        leaves_out = always != NO_FILTER
        name, variant_property = FLAG_CALLED, FLAG_RESPONSE
        event_sets = [scope.exposures(always), scope.exposures()]
        if (config := criteria.exposure_config) is not None:
            entity, unfiltered = await self._node(config, always), await self._node(config, NO_FILTER)
            if config.kind != "ActionsNode" and config.event in EXPOSURE_EVENTS:
                event_sets = [
                    scope.exposures(source.filter) for one in (entity, unfiltered) for source in one.sources or ()
                ]
            else:
                event_sets = [
                    scope.event_set(one, actor_required=False, names_variant=True) for one in (entity, unfiltered)
                ]
                name, variant_property = entity.step_name, scope.variant_property
        activation = None
        if criteria.activation_config is not None:
            entity = await self._node(criteria.activation_config, always)
            activation = scope.event_set(entity, names_variant=False)
        return ExposureQuery(
            event_sets if leaves_out else event_sets[:1],
            name,
            variant_property,
            leaves_out,
            unit=await self.unit(scope),
            handling=criteria.multiple_variant_handling,
            activation=activation,
            holdouts=scope.holdouts,
        )

    async def _node(self, node: Node, always: Group) -> Entity:
        [entity] = read_nodes([node], await self._prepared(filters_of([node])), always)
        return entity

    def typed_rules(self, experiment: Experiment) -> TypedRules:
        """Return what an experiment, or else the project, decides about its typed metrics."""
        lookback = read_lookback(experiment.stats_config, self._default_cuped)
        confidence = read_confidence(experiment.stats_config)
        excluded = sorted(excluded_variants(experiment.stats_config))
        return TypedRules(experiment.only_count_matured_users, lookback, confidence, excluded)

    async def typed(self, body: object, experiment: Experiment) -> TypedQuery:
        """Return the query of a typed metric.

        Raises
        ------
        ValidationFailed
            When it cannot be read, or an action does not exist.
        """
        metric = parse_metric(body)
        leaves_out = parse_criteria(experiment.exposure_criteria).filterTestAccounts
        actions = await self._prepared({**filters_of(nodes_of(metric)), "filter_test_accounts": leaves_out})
        return read_typed(metric, actions, self._test_accounts if leaves_out else NO_FILTER)

    async def unread_timestamps(
        self,
        filters: Filters,
        typed: Mapping[str, JsonValue] | None,
        scope: ExperimentScope,
        exposures: ExposureQuery,
    ) -> int:
        """Return how many events of the target metric and of exposure arrived with a time that could not be read.

        ``typed`` is the target metric where ``filters`` do not say what it is.
        """
        names = _event_names(filters) if typed is None else _names_of_typed(typed)
        parts = [part for one in exposures.event_sets for part in one.parts]
        for part in parts:
            names = None if names is None or part.series.names is None else names | part.series.names
        rest_on_events(names)
        so_far = scope.so_far
        return await self._events.unread_timestamps(names, so_far.start, max(so_far.start, so_far.last))

    async def problem_of(self, filters: Filters) -> str:
        """Return why a metric has an entity or condition that matches no event; empty if it has none."""
        try:
            actions = await self._prepared(filters)
            refuse_missing_actions(read_entities(filters, actions, self._always(filters)))
        except ValidationFailed as refusal:
            return refusal.detail
        return ""

    async def problem_of_typed(self, body: object, experiment: Experiment) -> str:
        """Return why a typed metric cannot be counted; empty if it can."""
        try:
            await self.typed(body, experiment)
        except ValidationFailed as refusal:
            return refusal.detail
        return ""

    async def problem_of_criteria(self, experiment: Experiment) -> str:
        """Return why the exposures that ``exposure_criteria`` describe cannot be counted; empty if they can."""
        if not experiment.exposure_criteria:
            return ""
        try:
            await self.exposures(experiment, self.planned_scope(experiment))
        except ValidationFailed as refusal:
            return refusal.detail
        return ""

    async def _prepared(self, filters: Filters, restriction: Group = NO_FILTER) -> Actions:
        """Return the actions that a metric mentions, when all that it filters by is compiled and known to exist."""
        always = both(self._always(filters), restriction)
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

    async def own_exposure(self, parameters: JsonValue) -> TrendQuery | None:
        """Return the query of an experiment's own exposure; None where it has none."""
        actions = await self._prepared(custom_exposure(parameters))
        return read_exposure(parameters, actions, self._test_accounts)


def _names_of_typed(body: Mapping[str, JsonValue]) -> frozenset[str] | None:
    """Return the names of the events of a typed metric; see ``_event_names``."""
    try:
        return _event_names(filters_of(nodes_of(parse_metric(body))))
    except ValidationFailed:  # it counts nothing
        return frozenset()


def holdout_variants(experiment: Experiment) -> list[str]:
    """Return what the flag answers to persons who are held out: by its own holdout, and by the experiment's."""
    of_flag, of_experiment = read_holdout(experiment.feature_flag.filters), experiment.holdout_id
    found = [] if of_flag is None else [of_flag.variant]
    if of_experiment is not None:
        found.append(holdout_variant(of_experiment))
    return [name for name in dict.fromkeys(found) if name not in variant_keys(experiment.feature_flag.filters)]


def _event_names(filters: Filters) -> frozenset[str] | None:
    """Return the names of the events that a metric counts; None where they may have any name, as those of actions."""
    entities = filters.get("events")
    names = [one.get("id") if isinstance(one, dict) else None for one in entities] if isinstance(entities, list) else []
    if filters.get("actions") or any(not isinstance(name, str) for name in names):
        return None
    return frozenset(name for name in names if isinstance(name, str))


def _read_test_accounts(value: JsonValue) -> tuple[Group, str]:
    """Return the filter of a project, and why it is not understood, if it is older than what refuses it today."""
    try:
        return parse_filter(value), ""
    except InvalidFilter as error:
        return NO_FILTER, error.detail
