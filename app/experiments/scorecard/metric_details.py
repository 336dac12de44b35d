"""What is shown of a counted metric beside its analysis: what it measures, what was analyzed, caps and steps."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.analysis.quantities import COVARIATE_OF_RATIO
from app.common.errors import ValidationFailed
from app.experiments.scorecard.counting import CountedMetric
from app.experiments.scorecard.schemas import CappedRead
from app.metrics.queries.typed.reading import parse_metric
from app.metrics.queries.typed.schemas import RatioMetric
from app.metrics.queries.typed.wording import name_steps
from app.statistics.variants import (
    Covariate,
    FunnelVariant,
    MeanVariant,
    MetricVariant,
    QuantileVariant,
    RatioCovariate,
    RatioVariant,
)

Counts: TypeAlias = dict[str, str | int | float | None]


def details_of(counted: CountedMetric, exposed: Mapping[str, int]) -> dict[str, Any]:
    """Return the fields of ``MetricAnalysisRead`` about what was counted.

    Parameters
    ----------
    exposed : mapping of str to int
        The persons, or groups, who were exposed to each variant.
    """
    keys = list(exposed)
    found: dict[str, Any] = {"counts": _write_counts(counted, keys)}
    if counted.wording is not None:
        found |= asdict(counted.wording)
    if counted.steps is not None:
        found["step_counts"] = dict(zip(keys, counted.steps, strict=True))
    if counted.metric.typed is None:
        return found
    try:
        metric = parse_metric(counted.metric.typed)
    except ValidationFailed:  # the metric's own problem says so
        return found
    caps = [_write_cap(one) for one in counted.caps]
    if isinstance(metric, RatioMetric):
        found |= dict(zip(("numerator_capped", "denominator_capped"), caps, strict=False))
    elif caps:
        found["capped"] = caps[0]
    return {
        **found,
        "uuid": metric.uuid,
        "metric_type": metric.metric_type,
        "exposed": dict(exposed),
        "step_names": name_steps(metric),
    }


def _write_cap(cap: NDArray[np.float64]) -> CappedRead | None:
    lower, upper, below, above = cap.tolist()
    if not (np.isfinite(lower) or np.isfinite(upper)):
        return None
    return CappedRead(
        lower=lower if np.isfinite(lower) else None,
        upper=upper if np.isfinite(upper) else None,
        persons_below=int(below),
        persons_above=int(above),
    )


def _write_counts(counted: CountedMetric, keys: Sequence[str]) -> list[Counts] | None:
    variants = counted.variants(keys, -1)
    return None if variants is None else [_write_variant(one) for one in variants]


def _write_variant(variant: MetricVariant) -> Counts:
    match variant:
        case FunnelVariant():
            return {
                "key": variant.key,
                "success_count": variant.success_count,
                "failure_count": variant.failure_count,
                **_write_covariate(variant.covariate),
            }
        case RatioVariant():
            return {
                **_write_sums(variant),
                "denominator_sum": float(variant.denominator_sum),
                "denominator_sum_squares": float(variant.denominator_sum_squares),
                "numerator_denominator_sum_product": float(variant.numerator_denominator_sum_product),
                **_write_covariate_of_ratio(variant.covariate),
            }
        case QuantileVariant():
            return {
                "key": variant.key,
                "number_of_samples": variant.number_of_samples,
                "number_of_values": variant.number_of_values,
                "value": variant.value,
                "lower": variant.lower,
                "upper": variant.upper,
            }
        case MeanVariant():
            return {**_write_sums(variant), **_write_covariate(variant.covariate)}
        case _:
            raise TypeError(f"experiments have no metric of {variant!r}")


def _write_covariate(covariate: Covariate | None) -> Counts:
    if covariate is None:
        return {}
    return {
        "covariate_sum": float(covariate.sum),
        "covariate_sum_squares": float(covariate.sum_squares),
        "main_covariate_sum_product": float(covariate.sum_product),
    }


def _write_covariate_of_ratio(covariate: RatioCovariate | None) -> Counts:
    sums = () if covariate is None else map(float, vars(covariate).values())
    return dict(zip(COVARIATE_OF_RATIO, sums, strict=False))


def _write_sums(variant: MeanVariant | RatioVariant) -> Counts:
    return {
        "key": variant.key,
        "number_of_samples": variant.number_of_samples,
        "sum": float(variant.sum),
        "sum_squares": float(variant.sum_squares),
    }
