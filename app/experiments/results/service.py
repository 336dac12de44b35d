"""Results of metrics: filters -> query -> facts -> counts -> statistics -> body."""

import datetime as dt
from zoneinfo import ZoneInfo

from app.common.errors import ValidationFailed
from app.db.database import Database
from app.db.models import Experiment, Project, utc_now
from app.events.history import EventHistory
from app.experiments.exposures.counting import ExposurePlan, ExposurePlanner
from app.experiments.exposures.lost_variants import refuse_data
from app.experiments.exposures.traffic_split import TrafficSplitQueries
from app.experiments.lifecycle import describe_waiting
from app.experiments.results.funnel import conversion_rates
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.experiments.results.target import CountedFunnel, CountedTarget, CountedTrend, PlannedTarget
from app.experiments.results.trend import totals
from app.experiments.sharing import SharedCounts
from app.metrics.counting.service import FactService
from app.metrics.queries.action_sources import ActionSources
from app.metrics.queries.entities import Filters, event_names, read_entities, refuse_missing_actions
from app.metrics.queries.exposure_attribution import attributed, read_attribution
from app.metrics.queries.funnel import funnel_fact_query
from app.metrics.queries.parsing import UnsupportedInsight, define_target, foreign_groups, read_insight
from app.metrics.queries.scope import EXPOSURE_EVENTS, FLAG_RESPONSE, ExperimentScope
from app.metrics.queries.service import MetricQueryBuilder
from app.metrics.queries.trend import fitted, trend_buckets
from app.statistics.posthog_2022.errors import ExperimentDataError, NoControlVariant
from app.telemetry.prometheus import RESULTS_SECONDS


class ResultsService:
    """Results of one project's experiments.

    It takes experiments that are loaded already, and opens short transactions of its own.
    """

    def __init__(self, database: Database, facts: FactService, project: Project, shared: SharedCounts) -> None:
        self._shared = shared
        self._database = database
        self._facts = facts
        self._project = project
        self._actions = ActionSources(database, project.id)
        self._queries = MetricQueryBuilder(database, project)
        self._exposures = ExposurePlanner(self._queries, TrafficSplitQueries(database, project.id))

    async def results(self, experiment: Experiment, *, recompute: bool = False) -> FunnelResultsRead | TrendResultsRead:
        """Return the verdict on the target metric; ``recompute`` counts all facts again."""
        return judge(await self.target(experiment, recompute=recompute))

    async def target(self, experiment: Experiment, *, recompute: bool = False) -> CountedTarget:
        """Count the target metric.

        Raises
        ------
        ValidationFailed
            When there is no target metric, or the experiment has not started.
        """
        _require_target(experiment)
        exposures = await self._exposures.plan(experiment)
        kind = "trend" if read_insight(experiment.filters) == "TRENDS" else "funnel"
        with RESULTS_SECONDS.labels(kind).time():
            target = await self.plan_target(experiment, exposures)
            queries = [exposures.fact_query, *target.fact_queries]
            exposed, *counts = await self._facts.counts(queries, recompute=recompute)
        return target.counted(exposures.answer(exposed), counts)

    async def plan_target(self, experiment: Experiment, exposures: ExposurePlan) -> PlannedTarget:
        """Return how the target metric is counted, so that others can count it together with theirs.

        Raises
        ------
        ValidationFailed
            When there is no target metric, or it has no events that exist.
        """
        _require_target(experiment)
        if read_insight(experiment.filters) == "TRENDS":
            return await self._plan_trend(experiment, exposures)
        return await self._plan_funnel(experiment.filters, exposures)

    async def secondary_results(self, experiment: Experiment, index: int) -> dict[str, float]:
        """Return one figure per variant for the secondary metric at an index of the list."""
        filters = _secondary_filters(experiment, index)
        with RESULTS_SECONDS.labels("secondary").time():
            return await self._shared.kept_result(
                f"secondary {index}", experiment, lambda: self._secondary_results(experiment, filters)
            )

    async def _secondary_results(self, experiment: Experiment, filters: Filters) -> dict[str, float]:
        scope = self._queries.scope(experiment)
        try:
            insight = read_insight(filters)
        except UnsupportedInsight as error:
            raise ValidationFailed("Secondary metrics need to be funnel or trend insights") from error
        exposures = await self._queries.exposures_to_attribute_by(experiment, scope)
        if insight == "TRENDS":
            trend = await self._queries.trend(filters)
            if trend is None:
                return {}
            fact_query = attributed(await self._queries.trend_fact_query(trend, scope), exposures, scope)
            [counts] = await self._facts.counts([fact_query])
            return totals(counts, scope.variants)
        funnel = await self._queries.funnel(filters)
        if not funnel.steps:
            return {}
        [reached] = await self._facts.counts([attributed(funnel_fact_query(funnel, scope), exposures, scope)])
        return conversion_rates(reached, scope.variants)

    async def requires_flag_implementation(self, query: Filters) -> bool:
        """Whether not one of the metric's events of the last seven days names a variant of any flag.

        Where exposures tell the variants of events, by the project's default, those have to name one.
        """
        entities = read_entities(query, await self._actions.of(query))
        refuse_missing_actions(entities)
        timezone = ZoneInfo(self._project.timezone)
        today = utc_now().astimezone(timezone).replace(hour=0, minute=0, second=0, microsecond=0)
        days = (today - dt.timedelta(days=7), today + dt.timedelta(days=1))
        events = EventHistory(self._database, self._project.id)
        if read_attribution(self._project.default_attribution) == "exposure":
            return not await events.any_with_text(EXPOSURE_EVENTS, (f'"{FLAG_RESPONSE}"',), *days)
        return not await events.any_naming_a_variant(event_names(entities), *days)

    async def _plan_funnel(self, filters: Filters, exposures: ExposurePlan) -> PlannedTarget:
        scope = exposures.scope
        _refuse_other_groups(filters, scope)
        query = await self._queries.funnel(filters)
        if not query.steps:
            raise _refusal(NoControlVariant())
        return PlannedTarget(
            [attributed(funnel_fact_query(query, scope), exposures.query, scope)],
            lambda exposed, counts: CountedFunnel(exposed, filters, query, *counts),
        )

    async def _plan_trend(self, experiment: Experiment, exposures: ExposurePlan) -> PlannedTarget:
        scope = exposures.scope
        _refuse_other_groups(experiment.filters, scope)
        filters, found = experiment.filters, await self._queries.trend(experiment.filters)
        if found is None:
            raise _refusal(NoControlVariant())
        query = fitted(found, scope)
        ticks = trend_buckets(query, scope)
        own = await self._queries.own_exposure(experiment.parameters)
        weighs_units = own is None or scope.attributed_by == "exposure" or own.is_count(scope)
        are_counts = query.is_count(scope) and weighs_units
        return PlannedTarget(
            await self._queries.trend_fact_queries(query, experiment.parameters, exposures.query, scope),
            lambda exposed, counts: CountedTrend(exposed, filters, query, ticks, are_counts, *counts),
        )


def has_target(experiment: Experiment) -> bool:
    """Whether an experiment has a target metric of 2022."""
    return define_target(experiment.filters or {}, beside_typed=bool(name_place_of_others(experiment)))


def _require_target(experiment: Experiment) -> None:
    if not has_target(experiment):
        raise ValidationFailed(f"Experiment has no target metric{name_place_of_others(experiment)}")


def name_place_of_others(experiment: Experiment) -> str:
    """Say where the typed metrics of an experiment are; empty where it has none."""
    if not (experiment.metrics or experiment.metrics_secondary or experiment.saved_metrics):
        return ""
    return " of 2022: its typed metrics are in `analysis/`, `timeseries_results/` and `decision/`"


def judge(target: CountedTarget) -> FunnelResultsRead | TrendResultsRead:
    """Return the verdict on a counted metric.

    Raises
    ------
    ValidationFailed
        When there are no data to compare.
    """
    try:
        return target.judge()
    except ExperimentDataError as error:
        waiting = describe_waiting(target.scope.start, target.scope.end, target.scope.now)
        raise refuse_data(error, target.exposures, waiting) from error


def _refusal(error: ExperimentDataError) -> ValidationFailed:
    return ValidationFailed(str(error), code=error.code)


def _refuse_other_groups(filters: Filters, scope: ExperimentScope) -> None:
    problem = foreign_groups(filters, scope)
    if problem:
        raise ValidationFailed(problem, attr="filters")


def _secondary_filters(experiment: Experiment, index: int) -> Filters:
    metrics = experiment.secondary_metrics
    if not isinstance(metrics, list) or not 0 <= index < len(metrics):
        raise ValidationFailed("Invalid metric ID")
    metric = metrics[index]
    filters = metric.get("filters") if isinstance(metric, dict) else None
    if not isinstance(filters, dict) or not filters:
        raise ValidationFailed("Invalid metric ID")
    return filters
