"""The fact queries of trends and of their exposure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from app.common import limits
from app.metrics.aggregation.active_users import (
    TRAILING_DAYS,
    ActivityMath,
    Days,
    active_actors,
    is_activity_math,
    once_per_bucket,
)
from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.trend import Math, TrendCounts, additive_over, aggregate_trend, count_exposed
from app.metrics.counting.fact_query import FactQuery
from app.metrics.facts.columns import FactColumns
from app.metrics.facts.event_sets import ALL_SESSIONS
from app.metrics.facts.sessions import with_durations
from app.metrics.queries.entities import NO_FILTER
from app.metrics.queries.models import TrendQuery
from app.metrics.queries.scope import ExperimentScope, buckets, fitting_interval
from app.properties.filters import Group


def fitted(query: TrendQuery, scope: ExperimentScope) -> TrendQuery:
    """Return a trend with a longer interval where its own has too many buckets, if that leaves its total as it is."""
    if not _is_sum_over_time(query):
        return query
    return replace(query, interval=fitting_interval(scope, query.interval))


def trend_buckets(query: TrendQuery, scope: ExperimentScope) -> Ticks:
    """Return the buckets by which a trend is counted.

    Raises
    ------
    ValidationFailed
        When there would be too many.
    """
    return buckets(scope, query.interval, limits.BUCKETS if _is_sum_over_time(query) else limits.COUNTED_BUCKETS)


def _is_sum_over_time(query: TrendQuery) -> bool:
    """Whether the total is the same by any interval."""
    return _additive_over(query) is not None


def _additive_over(query: TrendQuery) -> Literal["events", "actors"] | None:
    reduction = _reduction_of(query.math)
    return None if reduction is None or query.measures_sessions else additive_over(reduction)


def _reduction_of(math: Math | ActivityMath) -> Math | None:
    """Return how the facts of a bucket are reduced; None for actors that were active shortly before it.

    Unique groups and sessions are the distinct actors of their facts over the whole window, as persons are by ``dau``.
    """
    if is_activity_math(math):
        return None if math in TRAILING_DAYS else "dau"
    return math


def trend_fact_query(
    query: TrendQuery, ticks: Ticks, scope: ExperimentScope, days: Days | None = None
) -> FactQuery[TrendCounts]:
    """Return the fact query of a trend; aggregations of activity over days need the ``days``."""
    math = query.math
    return FactQuery(
        event_sets=[query.event_set(scope), ALL_SESSIONS] if query.measures_sessions else [query.event_set(scope)],
        window=scope.window,
        variants=scope.variants,
        count=lambda columns: count_trend(query, ticks, days, columns, len(scope.variants)),
        decode_counts=lambda body: TrendCounts.from_bytes(body).widened(len(ticks)),
        additive_over=_additive_over(query),
        parameters=("trend", math, query.interval, scope.timezone.key, *_names_of(days)),
        columns=frozenset() if math == "total" else frozenset({"actor"}),
    )


def _names_of(days: Days | None) -> Sequence[str]:
    """Return texts that differ for different days, and for different days with events."""
    return () if days is None else (str(len(days.busy)), days.busy.tobytes().hex())


def count_trend(
    query: TrendQuery, ticks: Ticks, days: Days | None, columns: Sequence[FactColumns], variant_count: int
) -> TrendCounts:
    """Count the facts of a trend's event sets; distinct actors count once, in the interval of their first fact."""
    facts, math = columns[0], query.math
    if query.measures_sessions:
        facts = once_per_bucket(with_durations(facts, columns[1]), ticks)
    reduction = _reduction_of(math)
    if reduction is not None:
        return aggregate_trend(facts, ticks, reduction, variant_count)
    if days is None or not is_activity_math(math):
        raise ValueError(f"{math} cannot be counted without the days")
    values = active_actors(facts, ticks, days, TRAILING_DAYS[math], variant_count)
    return replace(aggregate_trend(facts, ticks, "total", variant_count), values=values)


def count_by_interval(
    query: TrendQuery, ticks: Ticks, days: Days | None, columns: Sequence[FactColumns], variant_count: int
) -> TrendCounts:
    """Count as ``count_trend`` does, but distinct actors once in every interval in which they have a fact."""
    if _reduction_of(query.math) != "dau":
        return count_trend(query, ticks, days, columns, variant_count)
    return aggregate_trend(once_per_bucket(columns[0], ticks), ticks, "total", variant_count)


def exposure_2022_fact_query(scope: ExperimentScope, always: Group = NO_FILTER) -> FactQuery[TrendCounts]:
    """Return the fact query that counts the persons exposed to each variant, of events that pass a filter."""
    return FactQuery(
        event_sets=[scope.exposures(always)],
        window=scope.window,
        variants=scope.variants,
        count=lambda columns: count_exposed(columns[0], len(scope.variants)),
        decode_counts=TrendCounts.from_bytes,
        additive_over="actors",
        parameters=("exposures",),
        columns=frozenset({"actor"}),
    )
