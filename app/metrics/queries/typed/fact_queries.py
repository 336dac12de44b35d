"""The fact queries of typed metrics: exposures joined with the events of exposed persons."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.common.errors import ValidationFailed
from app.common.timestamps import to_microseconds
from app.metrics.aggregation.calendar import Ticks, TooManyBuckets, ticks
from app.metrics.aggregation.distribution import Distribution
from app.metrics.aggregation.exposed_funnel import count_again, count_reached, ordered_times, unordered_times
from app.metrics.aggregation.funnel import NEVER, ConversionWindow
from app.metrics.aggregation.funnel_by_day import AdjustedProgress, FunnelProgress
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.person_values import DISTINCT, PersonValues
from app.metrics.aggregation.quantiles import QuantileCounts, QuantileRule, read_quantiles
from app.metrics.aggregation.retention import RetentionWindow, find_returns, find_starts
from app.metrics.aggregation.value_sums import Outliers, SummedValue, ValueCounts, sum_capped, sum_values
from app.metrics.counting.fact_query import FactQuery, Maturing
from app.metrics.facts.columns import FactColumns
from app.metrics.facts.event_sets import SESSION_PROPERTY, EventSet, group_property
from app.metrics.queries.models import ExposureQuery
from app.metrics.queries.scope import ExperimentScope
from app.metrics.queries.typed.reading import TypedQuery, nodes_of
from app.metrics.queries.typed.rules import DEFAULT_CONFIDENCE, TypedRules
from app.metrics.queries.typed.schemas import (
    ExposureNode,
    FunnelMetric,
    MeanMetric,
    OutlierHandling,
    QuantileMetric,
    RatioMetric,
    RetentionMetric,
    Source,
    TypedMetric,
)

TypedKind: TypeAlias = Literal["funnel", "mean", "ratio", "quantile"]
TypedCounts: TypeAlias = FunnelProgress | ValueCounts | Distribution
Times: TypeAlias = NDArray[np.int64]

_SECOND, _HOUR, _DAY = 1_000_000, 3_600_000_000, 86_400_000_000  # microseconds
_LENGTHS = {"second": _SECOND, "minute": 60 * _SECOND, "hour": _HOUR, "day": _DAY, "week": 7 * _DAY}
_UNEVEN = 2 * _HOUR  # of days when clocks are changed
# Changed when retentions count otherwise: the stored counts of other metrics may be of events that were removed since.
_RETENTION = "without the event that exposed"


@dataclass(frozen=True)
class TypedFactQuery:
    """The fact query of a typed metric, and how its counts are analyzed."""

    kind: TypedKind
    has_covariate: bool
    fact_query: FactQuery[Any]


def kind_of(metric: TypedMetric) -> TypedKind:
    """Return how a metric is analyzed: values of 0 and 1 as conversions."""
    if isinstance(metric, RatioMetric | QuantileMetric):
        return "ratio" if isinstance(metric, RatioMetric) else "quantile"
    is_share = not isinstance(metric, MeanMetric) or metric.threshold is not None or metric.source.math == "dau"
    return "funnel" if is_share else "mean"


def typed_fact_query(
    query: TypedQuery, exposures: ExposureQuery, scope: ExperimentScope, days: Ticks, rules: TypedRules
) -> TypedFactQuery:
    """Return the fact query that counts a typed metric by day.

    Raises
    ------
    ValidationFailed
        When a calendar would have too many hours or days.
    """
    counting = _Counting(query, exposures, scope, days, rules)
    return TypedFactQuery(kind_of(query.metric), counting.lookback is not None, counting.fact_query())


@dataclass(frozen=True)
class _Counting:
    query: TypedQuery
    exposures: ExposureQuery
    scope: ExperimentScope
    days: Ticks
    rules: TypedRules
    moment: int | None = None  # as of which it is counted; now unless it is given

    @property
    def metric(self) -> TypedMetric:
        return self.query.metric

    @property
    def window(self) -> ConversionWindow | None:
        length = self.metric.conversion_window
        return None if length is None else ConversionWindow(length, self.metric.conversion_window_unit or "day")

    @property
    def lookback(self) -> int | None:
        """Microseconds of the time before the exposure that the covariate is taken from."""
        match self.metric:
            case MeanMetric() as mean:
                has_covariate = mean.threshold is None
            case FunnelMetric() as funnel:
                has_covariate = funnel.funnel_order_type == "ordered"
            case _:
                has_covariate = isinstance(self.metric, RatioMetric)
        days = self.rules.lookback_days if has_covariate else None
        return None if days is None else days * _DAY

    def fact_query(self) -> FactQuery[Any]:
        window = self.scope.window
        if self._awaits_maturity:  # which goes by the clock, also after the end
            window = replace(window, until=self._now, is_open=True)
        until = window.until if window.is_open else self._last_moment(window.until)
        return FactQuery(
            event_sets=[*self.exposures.ledger_sets, *self._event_sets()],
            window=replace(window, since=window.since - (self.lookback or 0), until=until),
            variants=self.scope.exposure_variants,
            count=self._counter(),
            decode_counts=self._decode,
            additive_over="actors",
            parameters=("typed", *self._parameters()),
            read_off=self._reader(),
            joined=self._joined(),
            maturing=self._maturing(),
        )

    @property
    def _now(self) -> int:
        """The end of the present second."""
        now = to_microseconds(self.scope.now.replace(microsecond=0)) + _SECOND
        return now if self.moment is None else self.moment

    def _maturing(self) -> Maturing | None:
        """Return how persons become mature: at the end of their window, which months and clocks make uneven."""
        if not self._awaits_maturity:
            return None
        if isinstance(self.metric, RetentionMetric):
            count, unit, further = self.metric.retention_window_end, self.metric.retention_window_unit, 1
        else:
            count, unit, further = self.metric.conversion_window or 0, self.metric.conversion_window_unit or "day", 0
        shortest, longest = (28 * _DAY, 31 * _DAY) if unit == "month" else (_LENGTHS[unit], _LENGTHS[unit])
        least, most = count * shortest - _UNEVEN, (count + further) * longest + _UNEVEN
        return Maturing(least, most, lambda moment: replace(self, moment=moment).fact_query())

    def _parameters(self) -> tuple[str, ...]:
        has_order_statistics = isinstance(self.metric, QuantileMetric)
        confidence = self.rules.confidence if has_order_statistics else DEFAULT_CONFIDENCE
        excluded = self.rules.excluded if self._has_caps else ()
        rules = replace(self.rules, confidence=confidence, excluded=excluded)
        return (
            self.metric.counted_digest,
            repr((self.exposures.ledger_parameters, rules, self.scope.window.since)),
            "" if self.scope.window.is_open else str(self.scope.window.until),
            self.days.interval,
            self.scope.timezone.key,
            *([_RETENTION] if isinstance(self.metric, RetentionMetric) else []),
        )

    @property
    def _awaits_maturity(self) -> bool:
        """Whether persons are counted some time after their exposure, and so without any new fact."""
        return self.rules.only_matured and self._has_deadline

    @property
    def _has_caps(self) -> bool:
        return any(self._outliers(handling) for _, handling in self._sources())

    @property
    def _has_distribution(self) -> bool:
        """Whether what is compared is read off the distribution of all persons' values."""
        return self._has_caps or isinstance(self.metric, QuantileMetric)

    def _reader(self) -> Callable[[Distribution], ValueCounts | QuantileCounts] | None:
        """Return what reads caps or quantiles off a distribution; None for metrics that need neither."""
        if isinstance(self.metric, QuantileMetric):
            rule = QuantileRule(self.metric.quantile_level, self.rules.confidence, self.metric.ignore_zeros)
            return lambda found: read_quantiles(found, rule)
        if not self._has_caps:
            return None
        covariates = [] if self.lookback is None else [None]
        outliers = [self._outliers(handling) for _, handling in self._sources()]
        return lambda found: sum_capped(found, [*outliers, *covariates * len(outliers)])

    def _joined(self) -> Mapping[int, int]:
        """Return the places of event sets that name the session or group of events, with those of the events."""
        found, place = {}, len(self.exposures.ledger_sets)
        for source, _ in self._sources():
            if source.math in DISTINCT:
                found[place + 1] = place
            place += 2 if source.math in DISTINCT else 1
        return found

    def _outliers(self, handling: OutlierHandling | None) -> Outliers | None:
        if handling is None or not handling.has_bounds:
            return None
        excluded = [place for place, key in enumerate(self.scope.variants) if key in self.rules.excluded]
        lower, upper = handling.lower_bound_percentile, handling.upper_bound_percentile
        return Outliers(lower, upper, handling.ignore_zeros, excluded)

    def _decode(self, body: bytes) -> TypedCounts | None:
        match self.metric:
            case FunnelMetric() if self.lookback is not None:
                return AdjustedProgress.from_bytes(body).widened(len(self.days))
            case FunnelMetric() | RetentionMetric():
                return FunnelProgress.from_bytes(body).widened(len(self.days))
            case _ if self._has_distribution:
                return Distribution.from_bytes(body).widened(len(self.days))
            case _:
                return ValueCounts.from_bytes(body).widened(len(self.days))

    def _event_sets(self) -> list[EventSet]:
        """Return what to read besides exposures: of each source its events, and those by what is counted of them."""
        found = []
        for node, entity in zip(nodes_of(self.metric), self.query.entities, strict=True):
            if not isinstance(node, Source):
                found.append(self.scope.event_set(entity, names_variant=False))
                continue
            found.append(self.scope.event_set(entity, value_property=node.math_property, names_variant=False))
            if (key := _key_property(node)) is not None:
                found.append(self.scope.event_set(entity, actor_property=key, actor_required=True, names_variant=False))
        return found

    @property
    def _has_deadline(self) -> bool:
        return self.window is not None or isinstance(self.metric, RetentionMetric)

    def _last_moment(self, until: int) -> int:
        """Return the end of what counts for a person who is exposed at the end of the experiment."""
        last = np.array([until], dtype=np.int64)
        if self.window is not None:
            last = self.window.ends(last)
        if isinstance(self.metric, RetentionMetric):
            last = self._retention_window(self.metric).ends(last)
        return int(last[0])

    def _counter(self) -> Callable[[Sequence[FactColumns]], TypedCounts]:
        if isinstance(self.metric, QuantileMetric) and self.metric.quantile_type == "event":
            return self._count_events
        if isinstance(self.metric, FunnelMetric):
            return self._count_funnel
        if isinstance(self.metric, RetentionMetric):
            window = self._retention_window(self.metric)
            return lambda columns: self._count_retention(columns, window)
        return self._count_values

    def _ledger(self, columns: Sequence[FactColumns]) -> Ledger:
        count = len(self.scope.variants)
        return self.exposures.ledger(self._exposure_columns(columns), count).of_variants(count)

    def _first_events(self, ledger: Ledger, columns: Sequence[FactColumns]) -> NDArray[np.int64]:
        """Return the sequence number of the event that exposed each person, which is not a later step as well."""
        return ledger.first_events(self.exposures.entries(self._exposure_columns(columns)))

    def _exposure_columns(self, columns: Sequence[FactColumns]) -> list[FactColumns]:
        window = self.scope.window
        parts = [part.select(part.time >= window.since) for part in columns[: len(self.exposures.ledger_sets)]]
        return parts if window.is_open else [part.select(part.time < window.until) for part in parts]

    def _deadlines(self, starts: Times) -> Times:
        """Return the moment from which on the events of each person no longer count."""
        if self.window is not None:
            return self.window.ends(starts)
        end = NEVER if self.scope.window.is_open else self.scope.window.until
        return np.full(len(starts), end, dtype=np.int64)

    def _matured(self, ledger: Ledger, starts: Times, ends: Times) -> tuple[Ledger, Times, NDArray[np.bool_]]:
        """Return the persons who are counted by now, from when on each of them is, and which they are."""
        if not self._awaits_maturity:
            return ledger, starts, np.ones(len(ledger), dtype=np.bool_)
        is_mature = ends < self._now
        return ledger.select(is_mature), ends[is_mature], is_mature

    def _in_time(self, ledger: Ledger, events: FactColumns, deadlines: Times) -> tuple[NDArray[np.int64], FactColumns]:
        row, events = ledger.events_since(events)
        counts = events.time < deadlines[row]
        return row[counts], events.select(counts)

    def _count_values(self, columns: Sequence[FactColumns]) -> ValueCounts | Distribution:
        ledger = self._ledger(columns)
        deadlines = self._deadlines(ledger.time)
        ledger, entry, is_mature = self._matured(ledger, ledger.time, deadlines)
        deadlines, rest = deadlines[is_mature], iter(columns[len(self.exposures.ledger_sets) :])
        values, covariates = [], []
        for source, _ in self._sources():
            events = next(rest)
            keys = next(rest) if source.math in DISTINCT else None
            row, in_time = self._in_time(ledger, events, deadlines)
            values.append(PersonValues.of(row, in_time, self.days, source.math, keys))
            if self.lookback is not None:
                covariates.append(self._covariate(ledger, events, keys, source))
        variant_count = len(self.scope.variants)
        if self._has_distribution:
            return Distribution.of_persons(ledger, entry, [*values, *covariates], self.days, variant_count)
        threshold = self.metric.threshold if isinstance(self.metric, MeanMetric) else None
        summed = [*(SummedValue(one, threshold) for one in values), *map(SummedValue, covariates)]
        return sum_values(ledger, entry, summed, self.days, variant_count)

    def _count_events(self, columns: Sequence[FactColumns]) -> Distribution:
        ledger = self._ledger(columns)
        deadlines = self._deadlines(ledger.time)
        ledger, entry, is_mature = self._matured(ledger, ledger.time, deadlines)
        [events] = columns[len(self.exposures.ledger_sets) :]
        row, events = self._in_time(ledger, events, deadlines[is_mature])
        numbers = (row, self.days.bucket(events.time), events.value)
        return Distribution.of_events(ledger, entry, numbers, self.days, len(self.scope.variants))

    def _covariate(self, ledger: Ledger, events: FactColumns, keys: FactColumns | None, source: Source) -> PersonValues:
        """Return the same value of the time before the exposure, which is known from the beginning on."""
        earlier = replace(ledger, time=ledger.shown - (self.lookback or 0))
        row, events = self._in_time(earlier, events, ledger.shown)
        beginning = np.full(len(row), self.days.starts[0])
        return PersonValues.of(row, replace(events, time=beginning), self.days, source.math, keys)

    def _sources(self) -> list[tuple[Source, OutlierHandling | None]]:
        match self.metric:
            case MeanMetric() as mean:
                return [(mean.source, mean)]
            case RatioMetric() as ratio:
                return [
                    (ratio.numerator, ratio.numerator_outlier_handling),
                    (ratio.denominator, ratio.denominator_outlier_handling),
                ]
            case QuantileMetric() as quantile:
                return [(quantile.source, None)]
            case _:
                return []

    def _count_funnel(self, columns: Sequence[FactColumns]) -> FunnelProgress:
        ledger = self._ledger(columns)
        deadlines = self._deadlines(ledger.time)
        ledger, entry, is_mature = self._matured(ledger, ledger.time, deadlines)
        facts, exposing = columns[len(self.exposures.ledger_sets) :], self._first_events(ledger, columns)
        steps = []
        for part in facts:
            row, events = self._in_time(ledger, part, deadlines[is_mature])
            is_later = events.sequence != exposing[row]
            steps.append((row[is_later], events.select(is_later)))
        is_ordered = isinstance(self.metric, FunnelMetric) and self.metric.funnel_order_type == "ordered"
        times = (ordered_times if is_ordered else unordered_times)(ledger, steps)
        variant_count = len(self.scope.variants)
        if self.lookback is None:
            return count_reached(ledger, entry, times, self.days, variant_count)
        earlier = replace(ledger, time=ledger.shown - self.lookback)
        last = ordered_times(earlier, [self._in_time(earlier, part, ledger.shown) for part in facts])[-1]
        return count_again(ledger, entry, times, last != NEVER, self.days, variant_count)

    def _retention_window(self, metric: RetentionMetric) -> RetentionWindow:
        first, last, unit = metric.retention_window_start, metric.retention_window_end, metric.retention_window_unit
        if unit not in {"hour", "day"}:
            return RetentionWindow(first, last, unit)
        length = dt.timedelta(hours=last + 2) if unit == "hour" else dt.timedelta(days=last + 2)
        try:
            after = max(self.scope.last, self.scope.now) + length
            if self.window is not None:
                after += dt.timedelta(microseconds=int(self.window.ends(np.zeros(1, np.int64))[0]))
            return RetentionWindow(first, last, unit, ticks(self.scope.start, after, unit, self.scope.timezone))
        except (TooManyBuckets, OverflowError) as error:
            raise ValidationFailed(f"The retention has too many {unit}s: choose shorter windows.") from error

    def _count_retention(self, columns: Sequence[FactColumns], window: RetentionWindow) -> FunnelProgress:
        ledger = self._ledger(columns)
        metric, facts = self.metric, columns[len(self.exposures.ledger_sets) :]
        exposing = self._first_events(ledger, columns)
        if not isinstance(metric, RetentionMetric):
            raise TypeError("only retention metrics have a retention window")
        if isinstance(metric.start_event, ExposureNode):
            starts = (ledger.time, exposing)
        else:
            row, events = self._in_time(ledger, facts[0], self._deadlines(ledger.time))
            starts = find_starts(row, events, len(ledger), metric.start_handling)
        has_started = starts[0] != NEVER
        ledger, exposing = ledger.select(has_started), exposing[has_started]
        starts = (starts[0][has_started], starts[1][has_started])
        ledger, entry, is_mature = self._matured(ledger, starts[0], window.ends(starts[0]))
        starts = (starts[0][is_mature], starts[1][is_mature])
        returned = find_returns(ledger, starts, exposing[is_mature], facts[-1], window)
        return count_reached(ledger, entry, [returned], self.days, len(self.scope.variants))


def _key_property(source: Source) -> str | None:
    """Return the property that names the session or group of an event, where different ones are counted."""
    if source.math == "unique_session":
        return SESSION_PROPERTY
    if source.math == "unique_group" and source.math_group_type_index is not None:
        return group_property(source.math_group_type_index)
    return None
