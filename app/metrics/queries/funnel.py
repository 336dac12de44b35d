"""The fact queries of funnels."""

from collections.abc import Sequence

from app.metrics.aggregation.attribution import attribute
from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.funnel import Attempts, FunnelCounts, count_funnel
from app.metrics.aggregation.funnel_by_day import FunnelProgress, count_progress
from app.metrics.aggregation.ordered_funnel import FunnelExclusion, FunnelStep, ordered_attempts
from app.metrics.aggregation.strict_funnel import strict_attempts
from app.metrics.aggregation.unordered_funnel import unordered_attempts
from app.metrics.counting.fact_query import FactQuery
from app.metrics.facts.columns import FactColumns
from app.metrics.queries.models import FunnelQuery
from app.metrics.queries.scope import ExperimentScope


def funnel_fact_query(query: FunnelQuery, scope: ExperimentScope) -> FactQuery[FunnelCounts]:
    """Return the fact query that counts a funnel."""
    return FactQuery(
        event_sets=query.event_sets(scope),
        window=scope.window,
        variants=scope.variants,
        count=lambda columns: count_facts(query, columns, len(scope.variants)),
        decode_counts=FunnelCounts.from_bytes,
        additive_over="actors",
        parameters=("funnel", *_parameters(query)),
    )


def progress_fact_query(query: FunnelQuery, scope: ExperimentScope, ticks: Ticks) -> FactQuery[FunnelProgress]:
    """Return the fact query that counts a funnel over time; its end is what ``funnel_fact_query`` counts."""
    return FactQuery(
        event_sets=query.event_sets(scope),
        window=scope.window,
        variants=scope.variants,
        count=lambda columns: count_progress(_attempts(query, columns), ticks, len(scope.variants)),
        decode_counts=lambda body: FunnelProgress.from_bytes(body).widened(len(ticks)),
        additive_over="actors",
        parameters=("funnel progress", ticks.interval, scope.timezone.key, *_parameters(query)),
    )


def count_facts(query: FunnelQuery, columns: Sequence[FactColumns], variant_count: int) -> FunnelCounts:
    """Count the facts of a funnel's event sets."""
    return count_funnel(_attempts(query, columns), variant_count)


def _attempts(query: FunnelQuery, columns: Sequence[FactColumns]) -> Attempts:
    """Return the attempts that the facts of the query's event sets hold, attributed as the query says."""
    parts = attribute(columns, query.attribution)
    steps, others = parts[: len(query.steps)], parts[len(query.steps) :]
    if not steps:
        raise ValueError("a funnel needs at least one step, got none")
    if query.order_type == "strict":
        return strict_attempts(steps, others[-1], query.window)
    if query.order_type == "unordered":
        return unordered_attempts(steps, others, query.window)
    return ordered_attempts(_steps(query, steps), _exclusions(query, others), query.window)


def _steps(query: FunnelQuery, facts: Sequence[FactColumns]) -> list[FunnelStep]:
    return [FunnelStep(*step) for step in zip(facts, _repeats(query), strict=True)]


def _exclusions(query: FunnelQuery, facts: Sequence[FactColumns]) -> list[FunnelExclusion]:
    return [FunnelExclusion(one, *bounds) for one, bounds in zip(facts, _bounds(query), strict=True)]


def _repeats(query: FunnelQuery) -> list[bool]:
    return [index > 0 and step.repeats(query.steps[index - 1]) for index, step in enumerate(query.steps)]


def _bounds(query: FunnelQuery) -> list[tuple[int, int]]:
    return [(exclusion.from_step, exclusion.to_step) for exclusion in query.exclusions]


def _parameters(query: FunnelQuery) -> tuple[str, ...]:
    """Return what the counts of a funnel depend on besides the facts."""
    return (repr((_repeats(query), _bounds(query), query.window, query.order_type, query.attribution)),)
