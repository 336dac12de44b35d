"""Estimates of a variant's mean from its counts: mean, variance and posterior, for every kind of metric."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import NormalDist
from typing import TypeAlias

from app.statistics.numerics.exact_numbers import to_float
from app.statistics.posteriors import BetaPosterior, GammaPosterior, NormalPosterior, Posterior
from app.statistics.variance_reduction import Adjusted, adjust_means
from app.statistics.variants import (
    CountVariant,
    Covariate,
    FunnelVariant,
    MeanVariant,
    MetricVariant,
    QuantileVariant,
    RatioCovariate,
    RatioVariant,
)

Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Adjustment:
    """The adjustment of a mean by a covariate.

    ``variance_reduction`` is the share of the variance that it removed, below zero where it added some; None where the
    unadjusted values do not vary.
    """

    unadjusted_mean: float
    theta: float
    variance_reduction: float | None


@dataclass(frozen=True)
class Sample:
    """The estimate of a variant, in the form that all kinds of metrics share.

    ``mean`` is None without data. ``variance`` is that of the mean, None for fewer than two samples. ``degrees`` of
    freedom of the variance are infinite where it follows from the mean, or from order statistics. A quantile stands in
    place of the mean and has no sums. ``posterior`` is None where the data leave it
    undefined: without variance, a mean has no distribution. With an ``adjustment``, mean and variance are adjusted.
    """

    key: str
    number_of_samples: float
    sum: float | None
    sum_squares: float | None
    mean: float | None
    variance: float | None
    degrees: float
    posterior: Posterior | None
    adjustment: Adjustment | None = None
    order_statistics: Interval | None = None


def samples_of(variants: Sequence[MetricVariant]) -> list[Sample]:
    """Return ``sample_of`` each variant; means and ratios with covariates are adjusted, see ``variance_reduction``.

    Raises
    ------
    ValueError
        When only some of the variants have a covariate.
    """
    samples = [sample_of(variant) for variant in variants]
    means = [variant for variant in variants if isinstance(variant, MeanVariant | RatioVariant)]
    if len(means) < len(variants) or all(mean.covariate is None for mean in means):
        return samples
    return [
        _adjusted(sample, one) if one is not None else sample
        for sample, one in zip(samples, adjust_means(means), strict=True)
    ]


def _adjusted(sample: Sample, one: Adjusted) -> Sample:
    mean, variance = to_float(one.mean), to_float(one.variance / int(sample.number_of_samples))
    removed = to_float(1 - one.variance / one.unadjusted_variance) if one.unadjusted_variance else None
    return replace(
        sample,
        mean=mean,
        variance=variance,
        posterior=_normal_posterior(mean, variance),
        adjustment=Adjustment(sample.mean if sample.mean is not None else mean, float(one.theta), removed),
    )


def covariate_sample(variant: MetricVariant) -> Sample | None:
    """Return the mean, or the ratio, of a variant's covariate as a sample; None without a covariate."""
    match variant:
        case FunnelVariant(covariate=Covariate()):
            return covariate_sample(variant.as_mean())
        case MeanVariant(covariate=Covariate() as own):
            return _values(MeanVariant(variant.key, variant.number_of_samples, own.sum, own.sum_squares))
        case RatioVariant(covariate=RatioCovariate() as own):
            sums = (own.sum, own.sum_squares, own.denominator_sum, own.denominator_sum_squares)
            product = own.numerator_denominator_sum_product
            return _values(RatioVariant(variant.key, variant.number_of_samples, *sums, product))
        case _:
            return None


def sample_of(variant: MetricVariant) -> Sample:
    """Return mean, variance and posterior of a variant.

    Conversion rates have the posterior Beta(successes + 1, failures + 1), counts Gamma(count + 1, exposure). Means
    and ratios have a normal posterior around the observed mean with its standard error, that of a ratio by the delta
    method: the central limit theorem justifies it for the many samples of experiments. Quantiles have the standard
    error that makes the interval between their order statistics that of a normal distribution.
    """
    if isinstance(variant, FunnelVariant):
        return _conversions(variant)
    if isinstance(variant, CountVariant):
        return _events(variant)
    if isinstance(variant, QuantileVariant):
        return _quantile(variant)
    return _values(variant)


def _conversions(variant: FunnelVariant) -> Sample:
    n, successes = variant.total, variant.success_count
    return Sample(
        key=variant.key,
        number_of_samples=n,
        sum=successes,
        sum_squares=successes,
        mean=successes / n if n else None,
        variance=successes / n * (variant.failure_count / n) / n if n else None,
        degrees=math.inf,
        posterior=BetaPosterior.from_counts(successes, variant.failure_count),
    )


def _events(variant: CountVariant) -> Sample:
    rate = variant.count / variant.exposure
    return Sample(
        key=variant.key,
        number_of_samples=variant.persons,
        sum=variant.count,
        sum_squares=variant.count,
        mean=rate,
        variance=rate / variant.exposure,
        degrees=math.inf,
        posterior=GammaPosterior.from_counts(variant.count, variant.exposure),
    )


def _quantile(variant: QuantileVariant) -> Sample:
    variance = None
    if variant.interval is not None:
        lower, upper = variant.interval
        variance = ((upper - lower) / (2 * NormalDist().inv_cdf((1 + variant.confidence) / 2))) ** 2
    return Sample(
        key=variant.key,
        number_of_samples=variant.number_of_samples,
        sum=None,
        sum_squares=None,
        mean=variant.value,
        variance=variance,
        degrees=math.inf,
        posterior=_normal_posterior(variant.value, variance),
        order_statistics=variant.interval,
    )


def _values(variant: MeanVariant | RatioVariant) -> Sample:
    mean, variance = _ratio(variant) if isinstance(variant, RatioVariant) else _mean(variant)
    return Sample(
        key=variant.key,
        number_of_samples=variant.number_of_samples,
        sum=float(variant.sum),
        sum_squares=float(variant.sum_squares),
        mean=mean,
        variance=variance,
        degrees=variant.number_of_samples - 1,
        posterior=_normal_posterior(mean, variance),
    )


def _normal_posterior(mean: float | None, variance: float | None) -> NormalPosterior | None:
    if mean is None or variance is None or not (math.isfinite(mean) and 0 < variance < math.inf):
        return None
    return NormalPosterior(mean, math.sqrt(variance))


def _mean(variant: MeanVariant) -> tuple[float | None, float | None]:
    n = variant.number_of_samples
    if n == 0:
        return None, None
    if n == 1:
        return float(variant.sum), None
    spread = Fraction(variant.sum_squares) - Fraction(variant.sum) ** 2 / n
    return float(variant.sum / n), to_float(max(spread, Fraction(0)) / (n - 1) / n)


def _ratio(variant: RatioVariant) -> tuple[float | None, float | None]:
    r"""Return the ratio and its variance, :math:`E[(Y - R X)^2] / (n \bar x^2)`: the delta method."""
    n, denominator = variant.number_of_samples, Fraction(variant.denominator_sum)
    if n == 0 or denominator == 0:
        return None, None
    quotient = Fraction(variant.sum) / denominator
    if n == 1:
        return to_float(quotient), None
    # Residuals sum to zero, so that their squares are not corrected for the mean.
    spread = (
        Fraction(variant.sum_squares)
        - 2 * quotient * Fraction(variant.numerator_denominator_sum_product)
        + quotient**2 * Fraction(variant.denominator_sum_squares)
    )
    return to_float(quotient), to_float(max(spread, Fraction(0)) / (n - 1) * n / denominator**2)
