"""Counts the exposures of experiments: experiment -> query -> facts -> counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.db.models import Experiment
from app.experiments.exposures.traffic_split import TrafficSplit, TrafficSplitQueries
from app.experiments.sharing import SharedCounts
from app.metrics.aggregation.calendar import Interval, Ticks, Window
from app.metrics.aggregation.exposures import ExposureCounts, count_exposures
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.queries.models import ExposureQuery
from app.metrics.queries.scope import ExperimentScope, buckets, fitting_interval
from app.metrics.queries.service import MetricQueryBuilder

# Times in microseconds before and after every event.
_BEGINNING, _END = -(2**62), 2**62


@dataclass(frozen=True)
class Exposures:
    """The exposures of an experiment, as of one moment. Groups that the flag assigns take the place of persons."""

    query: ExposureQuery
    scope: ExperimentScope
    ticks: Ticks
    split: TrafficSplit
    counts: ExposureCounts

    @property
    def exposed(self) -> dict[str, int]:
        """Persons of each variant who were shown only this one."""
        return dict(zip(self.scope.variants, self.counts.exposed.tolist(), strict=True))

    @property
    def lost(self) -> dict[str, int]:
        """Persons who were shown a variant that the flag had before: they are in no figure."""
        found = zip(self.split.former_variants, self.counts.former.tolist(), strict=True)
        return {variant: persons for variant, persons in found if persons}


@dataclass(frozen=True)
class ExposurePlan:
    """What counting exposures needs: what counts as exposure, and the fact query for it."""

    query: ExposureQuery
    scope: ExperimentScope
    ticks: Ticks
    split: TrafficSplit
    fact_query: FactQuery[ExposureCounts]

    def answer(self, counts: ExposureCounts) -> Exposures:
        return Exposures(self.query, self.scope, self.ticks, self.split, counts)


async def plan_exposures(
    queries: MetricQueryBuilder, experiment: Experiment, scope: ExperimentScope, interval: Interval | None = None
) -> ExposurePlan:
    """Return how the exposures of a started experiment are counted: by day unless an interval is given.

    Of more days than a series may have, they are counted by week.
    """
    so_far = scope.so_far
    ticks = buckets(so_far, interval or fitting_interval(so_far, "day"))
    query = await queries.exposures(experiment, scope)
    split = await TrafficSplitQueries(queries.database, queries.project_id).split(experiment)
    return ExposurePlan(query, scope, ticks, split, exposure_fact_query(query, ticks, scope, split.former_variants))


def exposure_fact_query(
    query: ExposureQuery, ticks: Ticks, scope: ExperimentScope, former_variants: Sequence[str] = ()
) -> FactQuery[ExposureCounts]:
    """Return the fact query of exposures. It covers all times, to count the events outside the experiment's window."""
    window = scope.window
    inside = replace(window, until=_END) if window.is_open else window
    return FactQuery(
        event_sets=query.event_sets,
        window=Window(_BEGINNING, window.until if window.is_open else _END, window.is_open),
        variants=[*scope.variants, *former_variants],
        count=lambda columns: count_exposures(columns, ticks, inside, len(scope.variants), len(former_variants)),
        decode_counts=lambda body: ExposureCounts.from_bytes(body).widened(len(ticks)),
        additive_over="actors",
        parameters=(
            "exposures of all times",
            repr(inside),
            f"{len(former_variants)} former variants",
            ticks.interval,
            scope.timezone.key,
        ),
        columns=frozenset({"actor"}),
        needed_since=window.since,
    )


class ExposureService:
    """Exposures of one project's experiments."""

    def __init__(self, facts: FactService, queries: MetricQueryBuilder, shared: SharedCounts) -> None:
        self._facts = facts
        self._queries = queries
        self._shared = shared

    async def exposures(self, experiment: Experiment, interval: Interval | None = None) -> Exposures:
        """Count the exposures of an experiment; see ``plan_exposures``.

        Raises
        ------
        ValidationFailed
            When the experiment has not started, or its time has too many intervals.
        """
        return await self._shared.result(
            f"exposures {interval}", experiment, lambda: self._exposures(experiment, interval)
        )

    async def _exposures(self, experiment: Experiment, interval: Interval | None) -> Exposures:
        plan = await plan_exposures(self._queries, experiment, self._queries.scope(experiment), interval)
        [counts] = await self._facts.counts([plan.fact_query])
        return plan.answer(counts)
