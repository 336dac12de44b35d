"""Turns the metrics of an experiment into fact queries, and their counts by day into variants."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.funnel_by_day import FunnelProgress
from app.metrics.aggregation.samples import SampleCounts, SampleMath, count_samples, is_sample_math, moments
from app.metrics.counting.fact_query import FactQuery
from app.metrics.facts.columns import FactColumns
from app.metrics.queries.models import ExposureQuery, TrendQuery
from app.metrics.queries.scope import ExperimentScope
from app.statistics.variants import Covariate, FunnelVariant, MeanVariant, MetricVariant, RatioVariant

MetricType: TypeAlias = Literal["funnel", "mean", "ratio"]
DailyCounts: TypeAlias = FunnelProgress | SampleCounts

# Mathematics under another name: the average number of events of persons is the mean of their totals.
_SAME_AS: dict[str, SampleMath] = {"avg_count_per_actor": "total"}


def person_level_math(query: TrendQuery, scope: ExperimentScope) -> SampleMath | None:
    """Return how persons, or groups, are compared in a trend; None where its aggregation has no mean over them."""
    if query.measures_sessions:
        return None
    if query.counts_units(scope):
        return "dau"
    if query.math in _SAME_AS:
        return _SAME_AS[query.math]
    return query.math if is_sample_math(query.math) else None


def metric_type_of(math: SampleMath) -> MetricType:
    """Return the metric type of an aggregation."""
    return {"dau": "funnel", "avg": "ratio"}.get(math, "mean")  # type: ignore[return-value]  # of the literal's texts


def sample_fact_query(
    query: TrendQuery, math: SampleMath, exposures: ExposureQuery, scope: ExperimentScope, ticks: Ticks
) -> FactQuery[SampleCounts]:
    """Return the fact query of what exposed persons, or groups, did from their first exposure on."""
    variant_count, ledger_sets = len(scope.variants), exposures.ledger_sets

    def count(columns: Sequence[FactColumns]) -> SampleCounts:
        ledger = exposures.ledger(columns[:-1], variant_count).of_variants(variant_count)
        return count_samples(ledger, columns[-1], ticks, math, variant_count)

    return FactQuery(
        event_sets=[*ledger_sets, scope.event_set(query.entity, value_property=query.value_property)],
        window=scope.window,
        variants=scope.exposure_variants,
        count=count,
        decode_counts=lambda body: SampleCounts.from_bytes(body).widened(len(ticks)),
        additive_over="actors" if math in {"total", "dau"} else None,  # the others are not integers
        parameters=("samples", math, ticks.interval, scope.timezone.key, exposures.handling),
        columns=exposures.columns,
    )


def variants_of(counts: NDArray[np.generic], kind: MetricType, keys: Sequence[str]) -> list[MetricVariant]:
    """Return counts as variants for the statistics.

    Parameters
    ----------
    counts : number[m, k]
        What ``DailyCounts.cumulative`` holds of one bucket. Of conversions the first row counts persons who entered and
        the last one persons who converted; of 0s and 1s the sum of squares is the sum.

    Raises
    ------
    OverflowError, ValueError
        When sums are not finite.
    """
    rows = list(zip(keys, counts.T.tolist(), strict=True))
    if kind == "funnel":
        return [FunnelVariant(key, int(sums[-1]), int(sums[0] - sums[-1])) for key, sums in rows]
    exact = [(key, moments(sums)) for key, sums in rows]
    if kind == "ratio":
        return [RatioVariant(key, int(n), *sums) for key, (n, *sums) in exact]
    return [
        MeanVariant(key, int(n), total, squares, Covariate(*covariate) if covariate else None)
        for key, (n, total, squares, *covariate) in exact
    ]
