"""Trend results: running totals per variant, the verdict on them, and the body that shows both."""

import math
from collections.abc import Sequence

from app.common.errors import ValidationFailed
from app.experiments.results.schemas import TrendResultsRead, TrendSeriesRead, TrendVariantRead
from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.trend import TrendCounts
from app.metrics.queries.applied_filters import JsonDict, applied_trend_filters
from app.metrics.queries.entities import Filters
from app.metrics.queries.models import TrendQuery
from app.metrics.queries.scope import ExperimentScope
from app.statistics.posthog_2022.trend import TrendVariant, TrendVerdict, evaluate_trend, withhold_verdict

MAX_EXPOSURE = 2**53  # larger integers are not exact in floating point


def totals(counts: TrendCounts, variants: Sequence[str]) -> dict[str, float]:
    """Return the total of each variant that has events.

    Raises
    ------
    ValidationFailed
        When a total is not finite.
    """
    found = {
        variant: float(count)
        for variant, count, events in zip(variants, counts.count, counts.of_variants, strict=True)
        if events > 0
    }
    for variant, total in found.items():
        if not math.isfinite(total):
            raise ValidationFailed(f"The total of variant {variant!r} is {total}: it is not finite")
    return found


def judge_trend(
    query: TrendQuery,
    counts: TrendCounts,
    ticks: Ticks,
    exposed: TrendCounts,
    filters: Filters,
    scope: ExperimentScope,
) -> TrendResultsRead:
    """Return the results of a trend that counts events or persons; variants without events are absent everywhere.

    Raises
    ------
    ExperimentDataError
        When there is no control or no test variant, or there are too many variants.
    ValidationFailed
        When a total is not finite.
    """
    series = _all_series(query, counts, ticks, filters, scope)
    variants = _variants(series, exposed, scope)
    return _results(series, variants, evaluate_trend([TrendVariant(**dict(one)) for one in variants]))


def show_amounts(
    query: TrendQuery,
    counts: TrendCounts,
    ticks: Ticks,
    exposed: TrendCounts,
    filters: Filters,
    scope: ExperimentScope,
) -> TrendResultsRead:
    """Return the results of a trend of amounts, without a verdict.

    The totals are those of 2022: of averages, for example, the sum over the intervals. Two of them say nothing about
    each other without the variance of what was added up.

    Raises
    ------
    ExperimentDataError, ValidationFailed
        As ``judge_trend``.
    """
    series = _all_series(query, counts, ticks, filters, scope)
    variants = _variants(series, exposed, scope)
    return _results(series, variants, withhold_verdict(variants))


def _results(
    series: Sequence[TrendSeriesRead], variants: Sequence[TrendVariantRead], verdict: TrendVerdict
) -> TrendResultsRead:
    return TrendResultsRead(
        insight=list(series),
        probability=dict(verdict.probability),
        significant=verdict.significant,
        filters=series[0].filter,
        significance_code=verdict.significance_code,
        p_value=verdict.p_value,
        variants=list(variants),
        credible_intervals=dict(verdict.credible_intervals),
    )


def _all_series(
    query: TrendQuery, counts: TrendCounts, ticks: Ticks, filters: Filters, scope: ExperimentScope
) -> list[TrendSeriesRead]:
    """Return a series for each variant with events, largest first."""
    applied_filters = applied_trend_filters(query, filters, scope)
    present = [slot for slot, events in enumerate(counts.of_variants) if events > 0]
    shown, rows = ticks.thinned()
    labels, days = shown.labels(), shown.days()
    total, running = counts.count.tolist(), counts.cumulative[:, rows].tolist()
    return sorted(
        (
            _series(query, total[slot], running[slot], labels, days, scope.variants[slot], applied_filters)
            for slot in present
        ),
        key=lambda one: (-one.count, one.label),
    )


def _variants(
    series: Sequence[TrendSeriesRead], exposed: TrendCounts, scope: ExperimentScope
) -> list[TrendVariantRead]:
    """Return the count and the exposure of each variant, control first."""
    exposures = dict(zip(scope.variants, map(_whole, exposed.count.tolist()), strict=True))
    variants = [_variant(one.breakdown_value, one.count, exposures, scope.variants[0]) for one in series]
    return sorted(variants, key=lambda variant: variant.key != scope.variants[0])


def _whole(amount: float) -> int:
    """Return an amount of exposure as an integer; less than 1 counts as none."""
    return int(min(amount, MAX_EXPOSURE)) if amount >= 1 else 0


def _variant(key: str, count: float, exposures: dict[str, int], control: str) -> TrendVariantRead:
    if not math.isfinite(count):
        raise ValidationFailed(f"The total of variant {key!r} is {count}: it is not finite")
    exposed, exposed_to_control = exposures[key], exposures[control]
    ratio = exposed / exposed_to_control if exposed and exposed_to_control else 1.0
    return TrendVariantRead(key=key, count=int(count), exposure=ratio, absolute_exposure=float(exposed or 1))


def _series(
    query: TrendQuery,
    total: float,
    running: list[float],
    labels: list[str],
    days: list[str],
    variant: str,
    applied_filters: JsonDict,
) -> TrendSeriesRead:
    return TrendSeriesRead(
        action=query.entity.to_json(),
        label=f"{query.entity.name} - {variant}",
        count=total,
        data=running,
        labels=labels,
        days=days,
        breakdown_value=variant,
        persons_urls=[],
        filter=applied_filters,
    )
