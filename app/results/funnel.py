"""Funnel results: counts per variant, the verdict on them, and the body that shows both. Pure."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import JsonValue

from app.facts.attribution import attribute
from app.facts.calendar import Interval, Ticks
from app.facts.columns import FactColumns
from app.facts.funnel import FunnelCounts, FunnelExclusion, FunnelStep, aggregate_funnel, ordered_tries
from app.facts.funnel_orders import (
    aggregate_strict_funnel,
    aggregate_unordered_funnel,
    strict_tries,
    unordered_tries,
)
from app.facts.funnel_progress import FunnelProgress, count_progress
from app.facts.metric import Metric
from app.results.queries import ExperimentScope, FunnelQuery, echo_funnel
from app.results.schemas import FunnelResultsRead, FunnelStepRead, FunnelVariantRead
from app.statistics.funnel import FunnelVariant, evaluate_funnel


def funnel_metric(query: FunnelQuery, scope: ExperimentScope) -> Metric[FunnelCounts]:
    """Return what a funnel asks of the facts."""
    variant_count = len(scope.variants)

    def count(columns: Sequence[FactColumns]) -> FunnelCounts:
        steps, others = _attributed(query, columns)
        if query.order_type == "strict":
            return aggregate_strict_funnel(steps, others[-1], query.window, variant_count)
        if query.order_type == "unordered":
            return aggregate_unordered_funnel(steps, others, query.window, variant_count)
        return aggregate_funnel(_steps(query, steps), _exclusions(query, others), query.window, variant_count)

    return Metric(
        watches=query.watches(scope),
        window=scope.window,
        variants=scope.variants,
        count=count,
        read=FunnelCounts.from_bytes,
        addends="actors",
        parameters=("funnel", *_parameters(query)),
    )


def progress_metric(
    query: FunnelQuery, scope: ExperimentScope, ticks: Ticks, interval: Interval
) -> Metric[FunnelProgress]:
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

    return Metric(
        watches=query.watches(scope),
        window=scope.window,
        variants=scope.variants,
        count=count,
        read=lambda body: FunnelProgress.from_bytes(body).widened(len(ticks)),
        addends="actors",
        parameters=("funnel progress", interval, scope.timezone.key, *_parameters(query)),
    )


def _attributed(query: FunnelQuery, columns: Sequence[FactColumns]) -> tuple[list[FactColumns], list[FactColumns]]:
    """Return the facts of the steps, and those of the other watches, under the attribution that the funnel asks for."""
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


def conversion_rates(counts: FunnelCounts, variants: Sequence[str]) -> dict[str, float]:
    """Return the conversion rate of each variant that has persons, to three decimals."""
    return {
        variant: round(int(reached[-1]) / int(reached[0]), 3)
        for variant, reached in zip(variants, counts.of_variants, strict=True)
        if reached[0] > 0
    }


def judge_funnel(
    query: FunnelQuery, counts: FunnelCounts, filters: Mapping[str, JsonValue], scope: ExperimentScope
) -> FunnelResultsRead:
    """Return the results of a funnel metric; variants without persons are absent everywhere.

    Raises
    ------
    ExperimentDataError
        When there is no control or no test variant, or there are too many variants.
    """
    present = [slot for slot, reached in enumerate(counts.of_variants) if reached[0] > 0]
    variants = [_variant(scope.variants[slot], counts.of_variants[slot]) for slot in present]
    verdict = evaluate_funnel(variants)
    return FunnelResultsRead(
        insight=[_funnel(query, counts, slot, scope.variants[slot]) for slot in present],
        probability=dict(verdict.probability),
        significant=verdict.significant,
        filters=echo_funnel(query, filters, scope),
        significance_code=verdict.significance_code,
        expected_loss=verdict.expected_loss,
        variants=[
            FunnelVariantRead(key=variant.key, success_count=variant.success_count, failure_count=variant.failure_count)
            for variant in variants
        ],
        credible_intervals=dict(verdict.credible_intervals),
    )


def _variant(key: str, reached: np.ndarray) -> FunnelVariant:
    total, success = int(reached[0]), int(reached[-1])
    return FunnelVariant(key, success_count=success, failure_count=total - success)


def _funnel(query: FunnelQuery, counts: FunnelCounts, slot: int, variant: str) -> list[FunnelStepRead]:
    averages, medians = counts.average_conversion_time, counts.median_conversion_time
    is_ordered = query.order_type != "unordered"  # there a step stands for how many there were, not for which
    return [
        FunnelStepRead(
            action_id=step.id if is_ordered else None,
            name=step.step_name if is_ordered else f"Completed {index + 1} step{'s' if index else ''}",
            custom_name=step.custom_name if is_ordered else None,
            order=step.order,
            people=[],
            count=int(counts.of_variants[slot, index]),
            type=step.kind,
            average_conversion_time=_number_or_none(float(averages[slot, index])),
            median_conversion_time=_number_or_none(float(medians[slot, index])),
            breakdown=[variant],
            breakdown_value=[variant],
            converted_people_url=None,
            dropped_people_url=None,
        )
        for index, step in enumerate(query.steps)
    ]


def _number_or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
