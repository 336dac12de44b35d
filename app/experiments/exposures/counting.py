"""Counts the exposures of experiments: experiment -> query -> facts -> counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.common.timestamps import to_microseconds
from app.db.models import Experiment
from app.experiments.exposures.traffic_split import TrafficSplit, TrafficSplitQueries
from app.experiments.sharing import SharedCounts
from app.experiments.target_metric import target_body
from app.metrics.aggregation.calendar import Interval, Ticks, Window
from app.metrics.aggregation.exposures import ExposureCounts, count_exposures, evaluations
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.facts.columns import FactColumns
from app.metrics.queries.models import ExposureQuery
from app.metrics.queries.scope import ExperimentScope, buckets, fitting_interval
from app.metrics.queries.service import MetricQueryBuilder
from app.metrics.queries.typed.rules import excluded_variants
from app.statistics.frequentist.sample_ratio import SampleRatio, check_sample_ratio

# Times in microseconds before and after every event.
_BEGINNING, _END = -(2**62), 2**62


@dataclass(frozen=True)
class Exposures:
    """The exposures of an experiment, as of one moment. Groups that the flag assigns take the place of persons.

    Attributes
    ----------
    planned : float64[k, b]
        Persons of each variant that the flag's split predicts, by the bucket of their first exposure: the persons of
        each phase, times the shares of that phase. All 0 where it predicts none.
    expected : mapping of str to float
        The same of the variants that are compared, from their persons alone: what others did in a phase says nothing
        about how many of the compared ones it had.
    unread_timestamps : int
        Events of exposure and of the target metric that arrived with a time that could not be read.
    excluded : set of str
        The variants that are counted here, and left out of what is compared.
    """

    query: ExposureQuery
    scope: ExperimentScope
    ticks: Ticks
    counts: ExposureCounts
    split: TrafficSplit
    planned: NDArray[np.float64]
    expected: Mapping[str, float]
    unread_timestamps: int
    excluded: frozenset[str] = frozenset()

    @property
    def compared(self) -> list[str]:
        """The variants that statistics and the test of the split are about."""
        return [key for key in self.scope.variants if key not in self.excluded]

    @property
    def compared_exposed(self) -> dict[str, int]:
        """As ``exposed``, of the variants that are compared."""
        return {key: persons for key, persons in self.exposed.items() if key not in self.excluded}

    @property
    def exposed(self) -> dict[str, int]:
        """Persons of each variant who were shown only this one."""
        return dict(zip(self.scope.variants, self.counts.exposed.tolist(), strict=True))

    @property
    def sample_ratio(self) -> SampleRatio | None:
        """The test of the exposed persons against the flag's split; None where the split says nothing about them.

        Persons who are held out are on neither side: of the others the variants have the same shares as without them.
        """
        expected = self.expected
        return check_sample_ratio(self.compared_exposed, expected) if any(expected.values()) else None

    @property
    def lost(self) -> dict[str, int]:
        """Persons who were shown a variant that the flag had before: they are in no figure."""
        found = zip(self.split.former_variants, self.counts.former.tolist(), strict=True)
        return {variant: persons for variant, persons in found if persons}


@dataclass(frozen=True)
class ExposurePlan:
    """What counting exposures needs: what counts as exposure, and the fact query for it.

    ``fine`` are the buckets that are counted: those of ``ticks``, divided where a phase of the split begins.
    """

    query: ExposureQuery
    scope: ExperimentScope
    ticks: Ticks
    fine: Ticks
    split: TrafficSplit
    fact_query: FactQuery[ExposureCounts]
    unread_timestamps: int = 0
    excluded: frozenset[str] = frozenset()

    @property
    def phase_beginnings(self) -> list[int]:
        """When the later phases of the split begin, in microseconds, ascending."""
        return _beginnings(self.split)

    def answer(self, counts: ExposureCounts) -> Exposures:
        """Return the exposures of counts by ``fine`` buckets."""
        starts, variants = np.searchsorted(self.fine.starts, self.ticks.starts), self.scope.variants
        compared = [place for place, key in enumerate(variants) if key not in self.excluded]
        expected = self._predict(counts.shown, compared).sum(axis=1).tolist()
        planned = self._predict(counts.shown, range(len(variants)))
        first, shown = (np.add.reduceat(one, starts, axis=1) for one in (counts.first, counts.shown))
        whole = replace(counts, first=first, shown=shown)
        return Exposures(
            self.query,
            self.scope,
            self.ticks,
            whole,
            self.split,
            np.add.reduceat(planned, starts, axis=1),
            dict(zip((variants[place] for place in compared), expected, strict=True)),
            self.unread_timestamps,
            self.excluded,
        )

    def _predict(self, shown: NDArray[np.int64], places: Sequence[int]) -> NDArray[np.float64]:
        """Return the persons of some variants in each bucket as the shares of its phase predict, float64[p, b]."""
        shares = self.split.predicted([self.scope.variants[place] for place in places])
        if shares is None:
            return np.zeros((len(places), shown.shape[1]))
        phase = np.searchsorted(self.phase_beginnings, self.fine.starts, side="right")
        return np.asarray(np.array(shares)[phase].T * shown[list(places)].sum(axis=0))


class ExposurePlanner:
    """Plans how the exposures of one project's experiments are counted."""

    def __init__(self, queries: MetricQueryBuilder, splits: TrafficSplitQueries) -> None:
        self._queries = queries
        self._splits = splits

    async def plan(self, experiment: Experiment, interval: Interval | None = None) -> ExposurePlan:
        """Return how the exposures of an experiment are counted: by day unless an interval is given.

        Of more days than a series may have, they are counted by week.

        Raises
        ------
        ValidationFailed
            When the experiment has not started, or its time has too many intervals.
        """
        scope = self._queries.scope(experiment)
        so_far = scope.so_far
        ticks = buckets(so_far, interval or fitting_interval(so_far, "day"))
        query, split = await self._queries.exposures(experiment, scope), await self._splits.split(experiment)
        fine = _divided(ticks, _beginnings(split))
        unread = await self._queries.unread_timestamps(experiment.filters, target_body(experiment), scope, query)
        excluded = excluded_variants(experiment.stats_config)
        fact_query = exposure_fact_query(query, fine, split, scope)
        return ExposurePlan(query, scope, ticks, fine, split, fact_query, unread, excluded)


def exposure_fact_query(
    query: ExposureQuery, ticks: Ticks, split: TrafficSplit, scope: ExperimentScope
) -> FactQuery[ExposureCounts]:
    """Return the fact query of exposures. It covers all times, to count the events outside the experiment's window."""
    window, count = scope.window, len(scope.variants)
    inside = replace(window, until=_END) if window.is_open else window
    others = [] if query.activation is None else [query.activation]

    def count_columns(columns: Sequence[FactColumns]) -> ExposureCounts:
        facts, unfiltered = columns[0], columns[len(query.event_sets) - 1]
        if scope.group_type_index is None:
            has_test_accounts = unfiltered is not facts
            facts = evaluations(facts)
            unfiltered = evaluations(unfiltered) if has_test_accounts else facts
        activations = [part.select(part.time < inside.until) for part in columns[len(query.event_sets) :]]
        return count_exposures(
            facts,
            unfiltered,
            ticks,
            inside,
            lambda facts: query.ledgers(facts, activations, count),
            count,
            held_count=len(scope.holdouts),
            former_count=len(split.former_variants),
        )

    rules = ("exposures of all times", repr(inside), ticks.interval, scope.timezone.key, query.handling)
    others_named = (f"{len(scope.holdouts)} holdouts", f"{len(split.former_variants)} former variants")
    divided = [f"divided at {beginning}" for beginning in _beginnings(split)]
    return FactQuery(
        event_sets=[*query.event_sets, *others],
        window=Window(_BEGINNING, window.until if window.is_open else _END, window.is_open),
        variants=[*scope.exposure_variants, *split.former_variants],
        count=count_columns,
        decode_counts=lambda body: ExposureCounts.from_bytes(body).widened(len(ticks)),
        additive_over="actors",
        parameters=(*rules, *others_named, *divided),
        columns=query.columns,
        needed_since=window.since,
    )


def _beginnings(split: TrafficSplit) -> list[int]:
    """Return when the later phases begin, in microseconds, in the order in which they were recorded."""
    times = [to_microseconds(phase.since) for phase in split.phases if phase.since is not None]
    return np.maximum.accumulate(times).tolist() if times else []  # clocks of processes may differ


def _divided(ticks: Ticks, beginnings: list[int]) -> Ticks:
    if not beginnings:
        return ticks
    starts = np.union1d(ticks.starts, np.array(beginnings))
    return Ticks(starts, np.zeros_like(starts), ticks.interval)  # they are never shown


class ExposureService:
    """Exposures of one project's experiments."""

    def __init__(self, facts: FactService, planner: ExposurePlanner, shared: SharedCounts) -> None:
        self._facts = facts
        self._planner = planner
        self._shared = shared

    async def exposures(self, experiment: Experiment, interval: Interval | None = None) -> Exposures:
        """Count the exposures of an experiment; see ``ExposurePlanner.plan``.

        Raises
        ------
        ValidationFailed
            When the experiment has not started, or its time has too many intervals.
        """
        return await self._shared.result(
            f"exposures {interval}", experiment, lambda: self._exposures(experiment, interval)
        )

    async def _exposures(self, experiment: Experiment, interval: Interval | None) -> Exposures:
        plan = await self._planner.plan(experiment, interval)
        [counts] = await self._facts.counts([plan.fact_query])
        return plan.answer(counts)
