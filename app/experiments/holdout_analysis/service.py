"""Analyzes holdouts: what all experiments together changed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.analysis.config_schemas import StatsConfig
from app.analysis.service import read_config, write_sample_ratio
from app.common.errors import ValidationFailed
from app.common.ids import read_id
from app.common.nouns import PERSONS
from app.db.database import Database
from app.db.models import Experiment, Holdout, utc_now
from app.experiments.exposures.schemas import DateRangeRead
from app.experiments.holdout_analysis.released_times import ReleasedTimes
from app.experiments.holdout_analysis.schemas import HoldoutAnalysisRead, HoldoutExperimentRead, HoldoutPersonsRead
from app.experiments.holdouts.service import percentage_of
from app.experiments.repository import ExperimentRepository
from app.experiments.saved_metrics.repository import SavedMetricRepository
from app.experiments.scorecard.counting import PlannedMetric
from app.experiments.scorecard.experiment_metrics import ExperimentMetric, metrics_of, typed_metrics
from app.experiments.scorecard.service import show_metric
from app.experiments.sharing import SharedCounts
from app.flags.filters import group_type_index_of
from app.flags.holdouts import holdout_variant
from app.metrics.aggregation.contacts import ContactCounts, ContactRule
from app.metrics.counting.service import EventsRemoved, FactService
from app.metrics.queries.holdout_contacts import HoldoutContacts, contact_fact_query
from app.metrics.queries.scope import FLAG_RESPONSE, ExperimentScope, buckets, fitting_interval
from app.metrics.queries.service import MetricQueryBuilder
from app.metrics.queries.typed.fact_queries import typed_fact_query
from app.metrics.queries.typed.rules import DEFAULT_CONFIDENCE
from app.metrics.queries.typed.wording import describe_typed
from app.statistics.analysis import analyze_metric
from app.statistics.frequentist.sample_ratio import SampleRatio, check_sample_ratio
from app.statistics.results import Analysis, AnalysisConfig, Goal
from app.statistics.variants import MetricVariant

OTHERS = "others"
_MAX_OFFERED = 100  # shared metrics


@dataclass(frozen=True)
class _Asked:
    """A metric, and the experiment by whose rules it is counted."""

    metric: ExperimentMetric
    experiment: Experiment


class HoldoutAnalyzer:
    """Analyzes the holdouts of one project. It opens short transactions of its own, as results do."""

    def __init__(
        self, database: Database, facts: FactService, queries: MetricQueryBuilder, shared: SharedCounts
    ) -> None:
        self._database = database
        self._facts = facts
        self._queries = queries
        self._shared = shared
        self._times = ReleasedTimes(database, queries.project_id)

    async def analyze(self, holdout: Holdout, metric: str) -> HoldoutAnalysisRead:
        """Compare everybody else with the persons of a holdout, from their first contact with one of its flags on.

        Raises
        ------
        ValidationFailed
            When no experiment of the holdout has started, or there is no such metric.
        """
        started = await self._started(holdout)
        counted = [one for one in started if group_type_index_of(one.feature_flag.filters) is None]
        if not counted:
            raise ValidationFailed("No experiment of the holdout that assigns persons has started.", code="no_data")
        asked = await self._asked(metric, counted)
        return await self._shared.result_of_several(
            f"holdout {holdout.id} {percentage_of(holdout)} {asked.metric!r} {asked.experiment.id}",
            started,
            lambda: self._analyze(holdout, asked, started, counted),
        )

    async def metrics(self, holdout: Holdout) -> dict[str, str]:
        """Return the names of metrics that can be analyzed, by the uuid or the id that names them."""
        names = {
            one.uuid: one.name
            for experiment in await self._started(holdout)
            if group_type_index_of(experiment.feature_flag.filters) is None
            for one in metrics_of(experiment)
            if one.uuid is not None
        }
        async with self._database.read() as session:
            saved = await SavedMetricRepository(session, self._queries.project_id).page(_MAX_OFFERED, 0)
        return names | {str(one.id): one.name for one in saved if str(one.query["uuid"]) not in names}

    async def _analyze(
        self, holdout: Holdout, asked: _Asked, started: Sequence[Experiment], counted: Sequence[Experiment]
    ) -> HoldoutAnalysisRead:
        key = holdout_variant(holdout.id)
        scope = self._scope(counted, key)
        contacts = await self._contacts(counted)
        planned = await self._plan(asked, contacts, scope)
        queries = [] if planned.fact_query is None else [planned.fact_query]
        persons, *rest = await self._facts.counts_or_refusals([contact_fact_query(contacts, scope), *queries])
        if isinstance(persons, EventsRemoved):
            raise persons
        found = planned.counted(rest[0] if rest else None)
        variants = found.variants(scope.variants, -1)
        config = read_config(StatsConfig(baseline_variant_key=key))
        analysis = None if variants is None else await _analyze(variants, config, asked.metric.role.goal)
        ratio = _sample_ratio(persons, key, percentage_of(holdout))
        held_out, others, both = persons.persons.tolist()
        return HoldoutAnalysisRead(
            holdout_id=holdout.id,
            date_range=DateRangeRead.of(scope.start, scope.last, scope.timezone),
            experiments=_named(counted),
            experiments_left_out=_named([one for one in started if one not in counted]),
            persons=HoldoutPersonsRead(held_out=held_out, others=others, both=both),
            sample_ratio_mismatch=None if ratio is None else write_sample_ratio(ratio),
            metric=show_metric(found, analysis, {key: held_out, OTHERS: others}, ratio),
        )

    async def _started(self, holdout: Holdout) -> list[Experiment]:
        now = utc_now()
        async with self._database.read() as session:
            experiments = await ExperimentRepository(session, self._queries.project_id).of_holdout(holdout.id)
        return [one for one in experiments if one.start_date is not None and one.start_date <= now]

    async def _asked(self, metric: str, experiments: Sequence[Experiment]) -> _Asked:
        for experiment in experiments:
            for one in metrics_of(experiment):
                if one.has_uuid(metric):
                    return _Asked(one, experiment)
        number = read_id(metric)
        if number is not None:
            async with self._database.read() as session:
                saved = await SavedMetricRepository(session, self._queries.project_id).get(number)
            if saved is not None:
                return _Asked(typed_metrics([{**saved.query, "name": saved.name}])[0], experiments[0])
        raise ValidationFailed(
            f"There is no metric {metric[:100]!r}: name the uuid of a typed metric of one of the holdout's started "
            "experiments, or the id of a saved metric.",
            attr="metric",
        )

    def _scope(self, experiments: Sequence[Experiment], key: str) -> ExperimentScope:
        scopes = [self._queries.scope(one) for one in experiments]
        first = min(scopes, key=lambda one: one.start)
        return ExperimentScope(
            flag_key="", variants=[key, OTHERS], start=first.start, end=None, now=first.now, timezone=first.timezone
        )

    async def _contacts(self, experiments: Sequence[Experiment]) -> HoldoutContacts:
        sets, rules = [], []
        for experiment in experiments:
            exposures = await self._queries.exposures(experiment, self._queries.scope(experiment))
            sets.append(exposures.event_sets[0])
            is_evaluation = exposures.variant_property == FLAG_RESPONSE
            rules.append(ContactRule(await self._times.of(experiment), needs_value=not is_evaluation))
        return HoldoutContacts(sets, "", "", filters_test_accounts=False, rules=rules)

    async def _plan(self, asked: _Asked, contacts: HoldoutContacts, scope: ExperimentScope) -> PlannedMetric:
        ticks = buckets(scope.so_far, fitting_interval(scope.so_far, "day"))
        try:
            query = await self._queries.typed(asked.metric.typed, asked.experiment)
            rules = self._queries.typed_rules(asked.experiment)
            rules = replace(rules, confidence=DEFAULT_CONFIDENCE, excluded=())  # it has other variants
            typed = typed_fact_query(query, contacts, scope, ticks, rules)
        except ValidationFailed as refusal:
            return PlannedMetric(asked.metric, problem=refusal.detail)
        wording = describe_typed(query.metric, PERSONS)
        return PlannedMetric(
            asked.metric, typed.kind, typed.fact_query, has_covariate=typed.has_covariate, wording=wording
        )


async def _analyze(variants: Sequence[MetricVariant], config: AnalysisConfig, goal: Goal) -> Analysis:
    return await asyncio.to_thread(analyze_metric, variants, config, goal=goal)


def _sample_ratio(counts: ContactCounts, key: str, percentage: float) -> SampleRatio | None:
    held_out, others, _ = counts.persons.tolist()
    if not held_out + others:
        return None
    return check_sample_ratio({key: held_out, OTHERS: others}, {key: percentage, OTHERS: 100 - percentage})


def _named(experiments: Sequence[Experiment]) -> list[HoldoutExperimentRead]:
    return [HoldoutExperimentRead(id=one.id, name=one.name) for one in experiments]
