"""The fact queries of breakdowns: a metric by the values of a property."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from app.metrics.aggregation.breakdown import (
    BreakdownCounts,
    BrokenDown,
    Frequencies,
    Keys,
    SegmentCounts,
    first_exposures,
    places_of,
)
from app.metrics.aggregation.ledger import Ledger
from app.metrics.counting.fact_query import FactQuery
from app.metrics.facts.actor_filters import actors_of
from app.metrics.facts.columns import NO_ACTOR, FactColumns
from app.metrics.facts.event_sets import EventSet, FilteredSeries
from app.metrics.queries.models import ExposureQuery
from app.metrics.queries.scope import ExperimentScope
from app.properties.filters import Conjunction

BreakdownType: TypeAlias = Literal["event", "person"]
BrokenDownBy: TypeAlias = Literal["exposure", "metric"]

BREAKDOWN_TYPES: tuple[BreakdownType, ...] = get_args(BreakdownType)
BROKEN_DOWN_BY: tuple[BrokenDownBy, ...] = get_args(BrokenDownBy)


@dataclass(frozen=True)
class Breakdown:
    """What a metric is broken down by.

    ``type`` says whose property it is: that of an event, or that of persons as they are today. ``by`` says of which
    event: that of the first exposure, which parts the persons, or those of the metric, which parts the events.
    """

    property: str
    type: BreakdownType = "event"
    by: BrokenDownBy = "exposure"
    limit: int = 20


# The keys of the values of persons; persons without one are left out.
PersonKeys: TypeAlias = Mapping[int, int]


def breakdown_fact_query(
    breakdown: Breakdown,
    metric: FactQuery[Any],
    exposures: ExposureQuery,
    scope: ExperimentScope,
    beginnings: Sequence[int],
    person_keys: PersonKeys | None,
) -> FactQuery[Any]:
    """Return the fact query that counts a metric for each value; ``BreakdownCounts`` are read off its counts.

    Parameters
    ----------
    metric
        Its counts are sums over persons. It reads the ledger sets of the exposures first where it is broken down by its
        own events.
    beginnings
        When the later phases of the split begin, in microseconds, ascending.
    person_keys
        For properties of persons.
    """
    counting = _Counting(breakdown, metric, exposures, scope, np.array(beginnings, dtype=np.int64), person_keys)
    return replace(
        metric,
        event_sets=[*exposures.ledger_sets, *counting.keyed_sets, *metric.event_sets],
        decode_counts=_decoder(metric, person_keys),
        count=counting.count,
        parameters=("breakdown", repr((breakdown, tuple(beginnings), exposures.ledger_parameters)), *metric.parameters),
        columns=metric.columns | {"actor", "sequence"},
        read_off=counting.read_off,
        joined=counting.joined,
        maturing=None if metric.maturing is None else replace(metric.maturing, as_of=counting.as_of),
        continuing=lambda known: lambda columns: counting.count(columns, known.held),
    )


def _decoder(metric: FactQuery[Any], person_keys: PersonKeys | None) -> Callable[[bytes], SegmentCounts | None] | None:
    """Return what reads stored counts; None where they are not stored: properties of persons change without facts."""
    decode = metric.decode_counts
    if decode is None or person_keys is not None:
        return None
    return lambda body: SegmentCounts.decode(body, decode)


@dataclass(frozen=True)
class _Counting:
    breakdown: Breakdown
    metric: FactQuery[Any]
    exposures: ExposureQuery
    scope: ExperimentScope
    beginnings: Keys
    person_keys: PersonKeys | None

    @property
    def _events(self) -> int:
        """The place of the metric's events among its event sets."""
        return len(self.exposures.ledger_sets)

    @property
    def keyed_sets(self) -> list[EventSet]:
        """Return the same events as those that have the property, with its value as the actor."""
        if self.breakdown.type == "person":
            return []
        by_metric = self.breakdown.by == "metric"
        events = self.metric.event_sets[self._events] if by_metric else self.exposures.event_sets[0]
        return [with_value(events, self.breakdown.property)]

    @property
    def joined(self) -> Mapping[int, int]:
        """See ``FactQuery.joined``."""
        before = self._events + len(self.keyed_sets)
        of_metric = {before + place: before + base for place, base in self.metric.joined.items()}
        if not self.keyed_sets:
            return of_metric
        return {self._events: before + self._events if self.breakdown.by == "metric" else 0, **of_metric}

    def as_of(self, moment: int) -> FactQuery[Any]:
        """Return the fact query of the breakdown as of a moment."""
        metric = self.metric.as_of(moment)
        return breakdown_fact_query(
            self.breakdown, metric, self.exposures, self.scope, self.beginnings.tolist(), self.person_keys
        )

    def read_off(self, counts: SegmentCounts) -> BreakdownCounts:
        """Return the counts of the values that are shown, as they are now."""
        shown, read = counts.shown(), self.metric.read_off
        return shown if read is None else replace(shown, counts=[read(one.at_the_end()) for one in shown.counts])

    def count(self, columns: Sequence[FactColumns], held: Keys | None = None) -> SegmentCounts:
        """Count the metric for the values that are held, or else for the most frequent ones, and some more."""
        exposed, rest = list(columns[: self._events]), columns[self._events :]
        keyed, parts = rest[: len(self.keyed_sets)], rest[len(self.keyed_sets) :]
        window, variant_count = self.scope.window, len(self.scope.variants)
        exposed = [part.select(part.time >= window.since) for part in exposed]
        if not window.is_open:
            exposed = [part.select(part.time < window.until) for part in exposed]
        ledger = self.exposures.ledger(exposed, variant_count).of_variants(variant_count)
        first = first_exposures(exposed[0].with_actor(), ledger, variant_count)
        phase = np.searchsorted(self.beginnings, first.time, side="right").astype(np.int64)
        by_metric = self.breakdown.by == "metric"
        subjects = parts[self._events] if by_metric else first
        keys = value_keys(subjects, keyed, self.person_keys)
        frequencies = Frequencies.of(self._since_exposure(ledger, subjects, keys) if by_metric else keys)
        if held is None:  # an exposed person is in the counts of each value of events: these cannot be added up
            limit = self.breakdown.limit
            held = frequencies.most_frequent(limit) if by_metric else frequencies.to_hold(limit)
        if by_metric:
            parts = [first, *parts[1:]]  # all that the metric's own ledger needs
        shape = (len(self.beginnings) + 1, variant_count)
        broken = BrokenDown(ledger, phase, shape, parts, self.metric.joined, self.metric.count)
        places, segments = places_of(keys, held), len(held) + 1
        if by_metric:
            of_exposed, counts = broken.by_events(places, segments, self._events)
        else:
            of_exposed, counts = broken.by_persons(places, segments)
        return SegmentCounts(self.breakdown.limit, held, frequencies, of_exposed, counts)

    def _since_exposure(self, ledger: Ledger, events: FactColumns, keys: Keys) -> Keys:
        """Return the keys of the events of exposed persons since their exposure."""
        _, since = ledger.events_since(events)
        return keys[np.isin(events.sequence, since.sequence)]


def value_keys(facts: FactColumns, with_values: Sequence[FactColumns], person_keys: PersonKeys | None) -> Keys:
    """Return the key of the value of each fact; ``NO_ACTOR`` where there is none.

    Parameters
    ----------
    with_values
        The facts of ``with_value`` for the same events; empty for properties of persons.
    """
    if person_keys is not None:
        return np.array([person_keys.get(actor, NO_ACTOR) for actor in facts.actor.tolist()], dtype=np.int64)
    key, is_known = actors_of(facts, with_values[0])
    return np.where(is_known, key, NO_ACTOR)


def with_value(events: EventSet, name: str) -> EventSet:
    """Return those events of a set that have a property, with its value as the actor; the set's own filter decides."""
    return EventSet(
        tuple(
            FilteredSeries(
                replace(
                    part.series, variant_property=None, value_property=None, actor_property=name, actor_required=True
                ),
                Conjunction(),
            )
            for part in events.parts
        )
    )
