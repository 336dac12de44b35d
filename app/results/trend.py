"""Trend results: running totals per variant, the verdict on them, and the body that shows both. Pure."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from app.errors import ValidationFailed
from app.facts.calendar import Ticks
from app.facts.trend import TrendCounts
from app.results.queries import ExperimentScope, JsonDict, TrendQuery, echo_trend
from app.results.schemas import TrendResultsRead, TrendSeriesRead, TrendVariantRead
from app.statistics.trend import TrendVariant, evaluate_trend


def totals(counts: TrendCounts, variants: Sequence[str]) -> dict[str, float]:
    """Return the total of each variant that has events."""
    return {
        variant: float(count)
        for variant, count, events in zip(variants, counts.count, counts.events, strict=True)
        if events > 0
    }


def judge_trend(
    query: TrendQuery,
    counts: TrendCounts,
    ticks: Ticks,
    exposed: NDArray[np.int64] | NDArray[np.float64],
    filters: Mapping[str, JsonValue],
    scope: ExperimentScope,
) -> TrendResultsRead:
    """Return the results of a trend metric; variants without events are absent everywhere.

    Raises
    ------
    ExperimentDataError
        When there is no control or no test variant, or there are too many variants.
    ValidationFailed
        When a total is no amount that could be compared: negative, or beyond all numbers.
    """
    echo = echo_trend(query, filters, scope)
    present = [slot for slot, events in enumerate(counts.events) if events > 0]
    series = sorted(
        (_series(query, counts, ticks, slot, scope.variants[slot], echo) for slot in present),
        key=lambda one: (-one.count, one.label),
    )
    shown = {one.breakdown_value: one.count for one in series}
    exposures = dict(zip(scope.variants, (float(count) for count in exposed), strict=True))
    variants = [_variant(key, count, exposures, scope.variants[0]) for key, count in shown.items()]
    variants.sort(key=lambda variant: variant.key != scope.variants[0])
    verdict = evaluate_trend(variants)
    return TrendResultsRead(
        insight=series,
        probability=dict(verdict.probability),
        significant=verdict.significant,
        filters=echo,
        significance_code=verdict.significance_code,
        p_value=verdict.p_value,
        variants=[
            TrendVariantRead(
                key=variant.key,
                count=variant.count,
                exposure=variant.exposure,
                absolute_exposure=variant.absolute_exposure,
            )
            for variant in variants
        ],
        credible_intervals=dict(verdict.credible_intervals),
    )


def _variant(key: str, count: float, exposures: dict[str, float], control: str) -> TrendVariant:
    if not math.isfinite(count) or count < 0:
        raise ValidationFailed(f"The total of variant {key!r} is {count}: only amounts from 0 can be compared")
    exposed, exposed_to_control = exposures[key], exposures[control]
    ratio = exposed / exposed_to_control if exposed and exposed_to_control else 1.0
    return TrendVariant(key, count=int(count), exposure=ratio, absolute_exposure=float(exposed or 1))


def _series(
    query: TrendQuery, counts: TrendCounts, ticks: Ticks, slot: int, variant: str, echo: JsonDict
) -> TrendSeriesRead:
    return TrendSeriesRead(
        action=query.entity.echo(),
        label=f"{query.entity.name} - {variant}",
        count=float(counts.count[slot]),
        data=[float(value) for value in counts.cumulative[slot]],
        labels=list(ticks.labels),
        days=list(ticks.days),
        breakdown_value=variant,
        persons_urls=[],
        filter=echo,
    )
