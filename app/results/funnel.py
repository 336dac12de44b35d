"""Funnel results: counts per variant, the verdict on them, and the body that shows both. Pure."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import JsonValue

from app.facts.attribution import attribute
from app.facts.columns import FactColumns
from app.facts.funnel import FunnelCounts, FunnelExclusion, FunnelStep, aggregate_funnel
from app.facts.funnel_orders import aggregate_strict_funnel, aggregate_unordered_funnel
from app.results.queries import ExperimentScope, FunnelQuery, echo_funnel
from app.results.schemas import FunnelResultsRead, FunnelStepRead, FunnelVariantRead
from app.statistics.funnel import FunnelVariant, evaluate_funnel


def count_funnel(query: FunnelQuery, columns: Sequence[FactColumns], variant_count: int) -> FunnelCounts:
    """Aggregate the facts of what the query watches: steps, exclusions and, for a strict funnel, all events."""
    parts = attribute(columns, query.attribution)
    count = len(query.steps)
    if query.order_type == "strict":
        return aggregate_strict_funnel(parts[:count], parts[-1], query.window, variant_count)
    if query.order_type == "unordered":
        return aggregate_unordered_funnel(parts[:count], parts[count:], query.window, variant_count)
    steps = [
        FunnelStep(facts, repeats_previous=index > 0 and query.steps[index].repeats(query.steps[index - 1]))
        for index, facts in enumerate(parts[:count])
    ]
    exclusions = [
        FunnelExclusion(facts, exclusion.from_step, exclusion.to_step)
        for exclusion, facts in zip(query.exclusions, parts[count:], strict=True)
    ]
    return aggregate_funnel(steps, exclusions, query.window, variant_count)


def conversion_rates(counts: FunnelCounts, variants: Sequence[str]) -> dict[str, float]:
    """Return the conversion rate of each variant that has persons, to three decimals."""
    return {
        variant: round(int(reached[-1]) / int(reached[0]), 3)
        for variant, reached in zip(variants, counts.reached, strict=True)
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
    present = [slot for slot, reached in enumerate(counts.reached) if reached[0] > 0]
    variants = [_variant(scope.variants[slot], counts.reached[slot]) for slot in present]
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
    is_ordered = query.order_type != "unordered"  # there a step stands for how many there were, not for which
    return [
        FunnelStepRead(
            action_id=step.id if is_ordered else None,
            name=step.step_name if is_ordered else f"Completed {index + 1} step{'s' if index else ''}",
            custom_name=step.custom_name if is_ordered else None,
            order=step.order,
            people=[],
            count=int(counts.reached[slot, index]),
            type=step.kind,
            average_conversion_time=_number_or_none(float(counts.average_conversion_time[slot, index])),
            median_conversion_time=_number_or_none(float(counts.median_conversion_time[slot, index])),
            breakdown=[variant],
            breakdown_value=[variant],
            converted_people_url=None,
            dropped_people_url=None,
        )
        for index, step in enumerate(query.steps)
    ]


def _number_or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
