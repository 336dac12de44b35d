"""Posterior densities as curves."""

import math
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.analysis.schemas import AnalysisRead, VariantAnalysisRead
from app.statistics.posteriors import BetaPosterior, GammaPosterior, NormalPosterior, Posterior

Vector: TypeAlias = NDArray[np.float64]

POINTS = 201
_DEVIATIONS = 4.5  # standard deviations from the mean, beyond which a density is invisibly small


def posterior_of(analysis: AnalysisRead, variant: VariantAnalysisRead) -> Posterior | None:
    """Return the posterior behind a variant's figures: None where the data do not define one.

    Means and ratios have a normal one, as adjusted shares do, which its mean and its interval give back.
    """
    if analysis.metric_type == "funnel" and variant.sum is not None and variant.theta is None:
        return BetaPosterior.from_counts(variant.sum, variant.number_of_samples - variant.sum)
    if analysis.metric_type == "count" and variant.sum is not None:
        return GammaPosterior.from_counts(variant.sum, variant.number_of_samples)
    if variant.posterior_mean is None or variant.credible_interval is None:
        return None
    low, high = variant.credible_interval
    quantile = NormalDist().inv_cdf((1 + analysis.stats_config.confidence_level) / 2)
    deviation = (high - low) / 2 / quantile
    return NormalPosterior(variant.posterior_mean, deviation) if deviation > 0 else None


def density(posterior: Posterior) -> tuple[Vector, Vector]:
    """Return x values and the density at them, over the range that holds nearly all probability."""
    low, high = _support(posterior)
    deviation = _deviation(posterior)
    first = max(low, posterior.mean - _DEVIATIONS * deviation)
    last = min(high, posterior.mean + _DEVIATIONS * deviation)
    x = np.linspace(first, last, POINTS)
    with np.errstate(divide="ignore"):
        return x, np.exp(_log_density(posterior, x))


def _log_density(posterior: Posterior, x: Vector) -> Vector:
    if isinstance(posterior, BetaPosterior):
        a, b = posterior.alpha, posterior.beta
        scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        return scale + _times_log(a - 1, x) + _times_log(b - 1, 1 - x)
    if isinstance(posterior, GammaPosterior):
        shape, rate = posterior.shape, posterior.rate
        return shape * math.log(rate) - math.lgamma(shape) + _times_log(shape - 1, x) - rate * x
    z = (x - posterior.mean) / posterior.deviation
    return -z * z / 2 - math.log(posterior.deviation * math.sqrt(2 * math.pi))


def _times_log(factor: float, x: Vector) -> Vector:
    """Return ``factor * log(x)``, and 0 for a factor of 0 even where the logarithm is infinite."""
    return np.zeros_like(x) if factor == 0 else factor * np.log(x)


def _support(posterior: Posterior) -> tuple[float, float]:
    if isinstance(posterior, BetaPosterior):
        return 0.0, 1.0
    return (0.0 if isinstance(posterior, GammaPosterior) else -math.inf), math.inf


def _deviation(posterior: Posterior) -> float:
    if isinstance(posterior, BetaPosterior):
        a, b = posterior.alpha, posterior.beta
        return math.sqrt(a / (a + b) * (b / (a + b)) / (a + b + 1))
    if isinstance(posterior, GammaPosterior):
        return math.sqrt(posterior.shape) / posterior.rate
    return posterior.deviation
