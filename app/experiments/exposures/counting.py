"""Counts the exposures of experiments: experiment -> query -> facts -> counts."""

from dataclasses import dataclass, replace

from app.db.models import Experiment
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
    """The exposures of an experiment, as of one moment.

    ``unread_timestamps`` is the number of events of exposure and of the target metric that arrived with a time that
    could not be read.
    """

    query: ExposureQuery
    scope: ExperimentScope
    ticks: Ticks
    counts: ExposureCounts
    unread_timestamps: int = 0

    @property
    def exposed(self) -> dict[str, int]:
        """Persons of each variant who were shown only this one."""
        return dict(zip(self.scope.variants, self.counts.exposed.tolist(), strict=True))


@dataclass(frozen=True)
class ExposurePlan:
    """What counting exposures needs: what counts as exposure, and the fact query for it."""

    query: ExposureQuery
    scope: ExperimentScope
    ticks: Ticks
    fact_query: FactQuery[ExposureCounts]
    unread_timestamps: int = 0

    def answer(self, counts: ExposureCounts) -> Exposures:
        return Exposures(self.query, self.scope, self.ticks, counts, self.unread_timestamps)


async def plan_exposures(
    queries: MetricQueryBuilder, experiment: Experiment, scope: ExperimentScope, interval: Interval | None = None
) -> ExposurePlan:
    """Return how the exposures of a started experiment are counted: by day unless an interval is given.

    Of more days than a series may have, they are counted by week.
    """
    so_far = scope.so_far
    ticks = buckets(so_far, interval or fitting_interval(so_far, "day"))
    query = await queries.exposures(experiment, scope)
    unread = await queries.unread_timestamps(experiment, scope, query)
    return ExposurePlan(query, scope, ticks, exposure_fact_query(query, ticks, scope), unread)


def exposure_fact_query(query: ExposureQuery, ticks: Ticks, scope: ExperimentScope) -> FactQuery[ExposureCounts]:
    """Return the fact query of exposures. It covers all times, to count the events outside the experiment's window."""
    window = scope.window
    inside = replace(window, until=_END) if window.is_open else window
    return FactQuery(
        event_sets=query.event_sets,
        window=Window(_BEGINNING, window.until if window.is_open else _END, window.is_open),
        variants=scope.variants,
        count=lambda columns: count_exposures(columns, ticks, inside, len(scope.variants)),
        decode_counts=lambda body: ExposureCounts.from_bytes(body).widened(len(ticks)),
        additive_over="actors",
        parameters=("exposures of all times", repr(inside), ticks.interval, scope.timezone.key),
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
