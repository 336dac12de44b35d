"""Turns the metrics of an experiment into fact queries, and their counts by day into variants."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.funnel_by_day import AdjustedProgress, FunnelProgress
from app.metrics.aggregation.quantiles import QuantileCounts
from app.metrics.aggregation.samples import SampleMath, count_samples, is_sample_math
from app.metrics.aggregation.value_sums import ValueCounts
from app.metrics.counting.fact_query import FactQuery
from app.metrics.facts.columns import FactColumns
from app.metrics.queries.models import ExposureQuery, TrendQuery
from app.metrics.queries.scope import ExperimentScope
from app.statistics.variants import (
    Covariate,
    FunnelVariant,
    MeanVariant,
    MetricVariant,
    QuantileVariant,
    RatioCovariate,
    RatioVariant,
)

MetricType: TypeAlias = Literal["funnel", "mean", "ratio", "quantile"]
DailyCounts: TypeAlias = FunnelProgress | ValueCounts | QuantileCounts

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
) -> FactQuery[ValueCounts]:
    """Return the fact query of what exposed persons, or groups, did from their first exposure on."""
    variant_count, ledger_sets = len(scope.variants), exposures.ledger_sets

    def count(columns: Sequence[FactColumns]) -> ValueCounts:
        ledger = exposures.ledger(columns[:-1], variant_count).of_variants(variant_count)
        return count_samples(ledger, columns[-1], ticks, math, variant_count)

    return FactQuery(
        event_sets=[*ledger_sets, scope.event_set(query.entity, value_property=query.value_property)],
        window=scope.window,
        variants=scope.exposure_variants,
        count=count,
        decode_counts=lambda body: ValueCounts.from_bytes(body).widened(len(ticks)),
        additive_over="actors",
        parameters=("samples", math, ticks.interval, scope.timezone.key, exposures.handling),
        columns=exposures.columns | {"sequence"},  # numbers are added in the order of arrival
    )


def variants_of(counts: DailyCounts, kind: MetricType, keys: Sequence[str], bucket: int = -1) -> list[MetricVariant]:
    """Return the counts at the end of a bucket as variants for the statistics.

    Of conversions the first row of a funnel counts persons who entered and the last one persons who converted; of 0s
    and 1s the sum of squares is the sum.

    Raises
    ------
    OverflowError, ValueError
        When sums are not finite.
    """
    if isinstance(counts, QuantileCounts):
        return [_quantile(key, row, counts.confidence) for key, row in _rows(counts, keys, bucket)]
    if isinstance(counts, AdjustedProgress):
        before = np.cumsum(counts.before, axis=2)[:, :, bucket].T.tolist()
        return [
            FunnelVariant(key, sums[-1], sums[0] - sums[-1], Covariate(had, had, again))
            for (key, sums), (had, again) in zip(_rows(counts, keys, bucket), before, strict=True)
        ]
    if isinstance(counts, FunnelProgress):
        return [FunnelVariant(key, sums[-1], sums[0] - sums[-1]) for key, sums in _rows(counts, keys, bucket)]
    exact = list(zip(keys, counts.moments(bucket), strict=True))
    if kind == "funnel":
        return [
            FunnelVariant(key, int(squares), int(n - squares), Covariate(*rest) if rest else None)
            for key, (n, _, squares, *rest) in exact
        ]
    return [(_ratio if kind == "ratio" else _mean)(key, sums) for key, sums in exact]


def _rows(counts: FunnelProgress | QuantileCounts, keys: Sequence[str], bucket: int) -> list[tuple[str, list[Any]]]:
    return list(zip(keys, counts.cumulative[:, :, bucket].T.tolist(), strict=True))


def _mean(key: str, sums: Sequence[Fraction]) -> MeanVariant:
    n, total, squares, *covariate = sums
    return MeanVariant(key, int(n), total, squares, Covariate(*covariate) if covariate else None)


def _ratio(key: str, sums: Sequence[Fraction]) -> RatioVariant:
    """Return a ratio of which the covariate's numerator and denominator come after its own."""
    n, total, squares, denominator, denominator_squares, *rest = sums
    covariate = None
    if len(rest) > 1:
        x, x_squares, e, e_squares, product, yx, ye, dx, de, xe = rest
        covariate = RatioCovariate(x, x_squares, e, e_squares, xe, yx, ye, dx, de)
    else:
        [product] = rest
    return RatioVariant(key, int(n), total, squares, denominator, denominator_squares, product, covariate)


def _quantile(key: str, row: Sequence[float], confidence: float) -> QuantileVariant:
    persons, _, count, *values = row
    value, lower, upper = (None if math.isnan(one) else one for one in values)
    return QuantileVariant(key, int(persons), int(count), value, lower, upper, confidence)
