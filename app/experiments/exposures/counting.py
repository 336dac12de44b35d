"""Counts the exposures of experiments: experiment -> query -> facts -> counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.db.models import Experiment
from app.experiments.sharing import SharedCounts
from app.metrics.aggregation.calendar import Interval, Ticks, Window
from app.metrics.aggregation.exposures import ExposureCounts, count_exposures
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.facts.columns import FactColumns
from app.metrics.queries.models import ExposureQuery
from app.metrics.queries.scope import ExperimentScope, buckets, fitting_interval
from app.metrics.queries.service import MetricQueryBuilder

# Times in microseconds before and after every event.
_BEGINNING, _END = -(2**62), 2**62


@dataclass(frozen=True)
class Exposures:
    """The exposures of an experiment, as of one moment."""

    query: ExposureQuery
    scope: ExperimentScope
    ticks: Ticks
    counts: ExposureCounts

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

    def answer(self, counts: ExposureCounts) -> Exposures:
        return Exposures(self.query, self.scope, self.ticks, counts)


async def plan_exposures(
    queries: MetricQueryBuilder, experiment: Experiment, scope: ExperimentScope, interval: Interval | None = None
) -> ExposurePlan:
    """Return how the exposures of a started experiment are counted: by day unless an interval is given.

    Of more days than a series may have, they are counted by week.
    """
    so_far = scope.so_far
    ticks = buckets(so_far, interval or fitting_interval(so_far, "day"))
    query = await queries.exposures(experiment, scope)
    return ExposurePlan(query, scope, ticks, exposure_fact_query(query, ticks, scope))


def exposure_fact_query(query: ExposureQuery, ticks: Ticks, scope: ExperimentScope) -> FactQuery[ExposureCounts]:
    """Return the fact query of exposures. It covers all times, to count the events outside the experiment's window."""
    window, count = scope.window, len(scope.variants)
    inside = replace(window, until=_END) if window.is_open else window
    others = [] if query.activation is None else [query.activation]

    def count_columns(columns: Sequence[FactColumns]) -> ExposureCounts:
        unfiltered = columns[len(query.event_sets) - 1]
        activations = [part.select(part.time < inside.until) for part in columns[len(query.event_sets) :]]
        return count_exposures(
            columns[0], unfiltered, ticks, inside, lambda facts: query.ledger([facts, *activations], count), count
        )

    return FactQuery(
        event_sets=[*query.event_sets, *others],
        window=Window(_BEGINNING, window.until if window.is_open else _END, window.is_open),
        variants=scope.variants,
        count=count_columns,
        decode_counts=lambda body: ExposureCounts.from_bytes(body).widened(len(ticks)),
        additive_over="actors",
        parameters=("exposures of all times", repr(inside), ticks.interval, scope.timezone.key, query.handling),
        columns=frozenset({"actor"} if query.handling == "exclude" else {"actor", "sequence"}),
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
