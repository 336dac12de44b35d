"""Estimates of a variant's mean from its counts: mean, variance and posterior, for every kind of metric."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from app.statistics.posteriors import BetaPosterior, GammaPosterior, NormalPosterior, Posterior
from app.statistics.variants import CountVariant, FunnelVariant, MeanVariant, MetricVariant, RatioVariant

Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Sample:
    """The estimate of a variant, in the form that all kinds of metrics share.

    ``mean`` is None without data. ``variance`` is that of the mean, None for fewer than two samples. ``degrees`` of
    freedom of the variance are infinite where it follows from the mean. ``posterior`` is None where the data leave it
    undefined: without variance, a mean has no distribution.
    """

    key: str
    number_of_samples: float
    sum: float
    sum_squares: float
    mean: float | None
    variance: float | None
    degrees: float
    posterior: Posterior | None


def sample_of(variant: MetricVariant) -> Sample:
    """Return mean, variance and posterior of a variant.

    Conversion rates have the posterior Beta(successes + 1, failures + 1), counts Gamma(count + 1, exposure). Means
    and ratios have a normal posterior around the observed mean with its standard error, that of a ratio by the delta
    method: the central limit theorem justifies it for the many samples of experiments.
    """
    if isinstance(variant, FunnelVariant):
        return _conversions(variant)
    if isinstance(variant, CountVariant):
        return _events(variant)
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
        number_of_samples=variant.exposure,
        sum=variant.count,
        sum_squares=variant.count,
        mean=rate,
        variance=rate / variant.exposure,
        degrees=math.inf,
        posterior=GammaPosterior.from_counts(variant.count, variant.exposure),
    )


def _values(variant: MeanVariant | RatioVariant) -> Sample:
    mean, variance = _ratio(variant) if isinstance(variant, RatioVariant) else _mean(variant)
    posterior = None
    if mean is not None and variance is not None and math.isfinite(mean) and 0 < variance < math.inf:
        posterior = NormalPosterior(mean, math.sqrt(variance))
    return Sample(
        key=variant.key,
        number_of_samples=variant.number_of_samples,
        sum=float(variant.sum),
        sum_squares=float(variant.sum_squares),
        mean=mean,
        variance=variance,
        degrees=variant.number_of_samples - 1,
        posterior=posterior,
    )


def _mean(variant: MeanVariant) -> tuple[float | None, float | None]:
    n = variant.number_of_samples
    if n == 0:
        return None, None
    if n == 1:
        return float(variant.sum), None
    spread = Fraction(variant.sum_squares) - Fraction(variant.sum) ** 2 / n
    return float(variant.sum / n), _to_float(max(spread, Fraction(0)) / (n - 1) / n)


def _ratio(variant: RatioVariant) -> tuple[float | None, float | None]:
    r"""Return the ratio and its variance, :math:`E[(Y - R X)^2] / (n \bar x^2)`: the delta method."""
    n, denominator = variant.number_of_samples, Fraction(variant.denominator_sum)
    if n == 0 or denominator == 0:
        return None, None
    quotient = Fraction(variant.sum) / denominator
    if n == 1:
        return _to_float(quotient), None
    # Residuals sum to zero, so that their squares are not corrected for the mean.
    spread = (
        Fraction(variant.sum_squares)
        - 2 * quotient * Fraction(variant.numerator_denominator_sum_product)
        + quotient**2 * Fraction(variant.denominator_sum_squares)
    )
    return _to_float(quotient), _to_float(max(spread, Fraction(0)) / (n - 1) * n / denominator**2)


def _to_float(number: Fraction) -> float:
    """Return the nearest float; infinity beyond the largest."""
    try:
        return float(number)
    except OverflowError:
        return math.copysign(math.inf, number)
