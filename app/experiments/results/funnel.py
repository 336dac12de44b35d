"""Funnel results: the verdict on counts per variant, and the body that shows both."""

import math
from collections.abc import Sequence

import numpy as np

from app.experiments.results.schemas import FunnelResultsRead, FunnelStepRead, FunnelVariantRead
from app.metrics.aggregation.funnel import FunnelCounts
from app.metrics.queries.applied_filters import applied_funnel_filters
from app.metrics.queries.entities import Filters
from app.metrics.queries.models import FunnelQuery
from app.metrics.queries.scope import ExperimentScope
from app.statistics.posthog_2022.funnel import evaluate_funnel
from app.statistics.variants import FunnelVariant


def conversion_rates(counts: FunnelCounts, variants: Sequence[str]) -> dict[str, float]:
    """Return the conversion rate of each variant that has persons, to three decimals."""
    return {
        variant: round(int(reached[-1]) / int(reached[0]), 3)
        for variant, reached in zip(variants, counts.of_variants, strict=True)
        if reached[0] > 0
    }


def judge_funnel(
    query: FunnelQuery, counts: FunnelCounts, filters: Filters, scope: ExperimentScope
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
        filters=applied_funnel_filters(query, filters, scope),
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
    is_ordered = query.order_type != "unordered"  # there a step is a number of completed steps, not an event
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
