"""What a funnel asks of the facts. Pure."""

from collections.abc import Sequence

from app.metrics.aggregation.attribution import attribute
from app.metrics.aggregation.calendar import Interval, Ticks
from app.metrics.aggregation.funnel import FunnelCounts, FunnelExclusion, FunnelStep, aggregate_funnel, ordered_tries
from app.metrics.aggregation.funnel_by_day import FunnelProgress, count_progress
from app.metrics.aggregation.funnel_orders import (
    aggregate_strict_funnel,
    aggregate_unordered_funnel,
    strict_tries,
    unordered_tries,
)
from app.metrics.counting.fact_query import FactQuery
from app.metrics.facts.columns import FactColumns
from app.metrics.queries.models import FunnelQuery
from app.metrics.queries.scope import ExperimentScope


def funnel_metric(query: FunnelQuery, scope: ExperimentScope) -> FactQuery[FunnelCounts]:
    """Return what a funnel asks of the facts."""
    variant_count = len(scope.variants)

    def count(columns: Sequence[FactColumns]) -> FunnelCounts:
        steps, others = _attributed(query, columns)
        if query.order_type == "strict":
            return aggregate_strict_funnel(steps, others[-1], query.window, variant_count)
        if query.order_type == "unordered":
            return aggregate_unordered_funnel(steps, others, query.window, variant_count)
        return aggregate_funnel(_steps(query, steps), _exclusions(query, others), query.window, variant_count)

    return FactQuery(
        event_sets=query.event_sets(scope),
        window=scope.window,
        variants=scope.variants,
        count=count,
        decode_counts=FunnelCounts.from_bytes,
        additive_over="actors",
        parameters=("funnel", *_parameters(query)),
    )


def progress_metric(
    query: FunnelQuery, scope: ExperimentScope, ticks: Ticks, interval: Interval
) -> FactQuery[FunnelProgress]:
    """Return the question how a funnel grew; with the last bucket it says what ``funnel_metric`` does of variants."""

    def count(columns: Sequence[FactColumns]) -> FunnelProgress:
        steps, others = _attributed(query, columns)
        if query.order_type == "strict":
            tries = strict_tries(steps, others[-1], query.window)
        elif query.order_type == "unordered":
            tries = unordered_tries(steps, others, query.window)
        else:
            tries = ordered_tries(_steps(query, steps), _exclusions(query, others), query.window)
        return count_progress(tries, ticks, len(scope.variants))

    return FactQuery(
        event_sets=query.event_sets(scope),
        window=scope.window,
        variants=scope.variants,
        count=count,
        decode_counts=lambda body: FunnelProgress.from_bytes(body).widened(len(ticks)),
        additive_over="actors",
        parameters=("funnel progress", interval, scope.timezone.key, *_parameters(query)),
    )


def _attributed(query: FunnelQuery, columns: Sequence[FactColumns]) -> tuple[list[FactColumns], list[FactColumns]]:
    """Return the facts of the steps, and those of the other event sets, as the funnel attributes them."""
    parts = attribute(columns, query.attribution)
    return parts[: len(query.steps)], parts[len(query.steps) :]


def _steps(query: FunnelQuery, facts: Sequence[FactColumns]) -> list[FunnelStep]:
    return [FunnelStep(*step) for step in zip(facts, _repeats(query), strict=True)]


def _exclusions(query: FunnelQuery, facts: Sequence[FactColumns]) -> list[FunnelExclusion]:
    return [FunnelExclusion(one, *bounds) for one, bounds in zip(facts, _bounds(query), strict=True)]


def _repeats(query: FunnelQuery) -> list[bool]:
    return [index > 0 and step.repeats(query.steps[index - 1]) for index, step in enumerate(query.steps)]


def _bounds(query: FunnelQuery) -> list[tuple[int, int]]:
    return [(exclusion.from_step, exclusion.to_step) for exclusion in query.exclusions]


def _parameters(query: FunnelQuery) -> tuple[str, ...]:
    """Return what the counts of a funnel depend on beside the facts."""
    return (repr((_repeats(query), _bounds(query), query.window, query.order_type, query.attribution)),)
