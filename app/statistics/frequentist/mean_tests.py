"""Tests and confidence intervals of differences and ratios of means."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from app.statistics.bayesian.intervals import axis_quantiles
from app.statistics.estimates import Interval, Sample
from app.statistics.frequentist.score_intervals import (
    is_degenerate,
    pooled_z,
    score_difference,
    score_relative_difference,
)
from app.statistics.numerics.tail_probabilities import poisson_comparison, student_p_values
from app.statistics.posteriors import BetaPosterior
from app.statistics.variants import CountVariant, FunnelVariant, MetricVariant, QuantileVariant

_STANDARD_NORMAL = NormalDist()
_LARGEST_DEGREES = 1e15  # beyond, Student's t is normal to the last digit


def fieller_interval(baseline: Sample, sample: Sample, factor: float) -> Interval | None:
    r"""Return the relative differences r that put :math:`m - (1 + r) m_0` within ``factor`` standard errors of zero.

    It excludes zero exactly when the interval of the absolute difference does, unlike the delta method's. None where it
    is unbounded, because the baseline's mean is too close to zero, and where it would have no width: where neither mean
    varies, or the other one is 0 without variance.

    References
    ----------
    E. C. Fieller, *Some problems in interval estimation*, JRSS B 16 (1954).
    """
    mean = mean_of(baseline)
    ratio, own, base = mean_of(sample) / mean, deviation_of(sample) / mean, deviation_of(baseline) / mean
    own, base = own * own, base * base  # which may be infinite, where a power would be an error
    rest = 1 - factor * factor * base
    if not (rest > 0 and own + ratio * ratio * base > 0 and math.isfinite(own) and math.isfinite(ratio * ratio)):
        return None
    root = factor * math.sqrt(max(own + ratio * ratio * base - factor * factor * base * own, 0.0))
    return (ratio - root) / rest - 1, (ratio + root) / rest - 1


def difference_interval(
    baseline: MetricVariant, test: MetricVariant, estimate: float, error: float, factor: float
) -> Interval | None:
    """Return the estimate plus and minus ``factor`` standard errors, or the score interval of a degenerate rate.

    None where neither mean varies.
    """
    if is_degenerate(baseline, test):
        return score_difference(baseline, test, factor)
    return interval_around(estimate, factor * error) if error > 0 else None


def order_statistic_difference(baseline: MetricVariant, test: MetricVariant) -> Interval | None:
    """Return the interval of the difference of two quantiles from those of each, by the method of variance recovery.

    Each end is as far from the difference as the ends of the two intervals that it depends on are from their quantiles,
    at right angles. None for other kinds, and where one has too few values.

    References
    ----------
    G. Y. Zou and A. Donner, *Construction of confidence limits about effect measures: a general approach*, Statistics
    in Medicine 27 (2008).
    """
    if not (isinstance(baseline, QuantileVariant) and isinstance(test, QuantileVariant)):
        return None
    if baseline.value is None or test.value is None or baseline.interval is None or test.interval is None:
        return None
    estimate = test.value - baseline.value
    below = math.hypot(test.value - test.interval[0], baseline.interval[1] - baseline.value)
    above = math.hypot(test.interval[1] - test.value, baseline.value - baseline.interval[0])
    return estimate - below, estimate + above


def relative_interval(
    baseline: tuple[MetricVariant, Sample], test: tuple[MetricVariant, Sample], factor: float
) -> Interval | None:
    """Return Fieller's interval of the relative difference, or the score interval of a degenerate rate."""
    if is_degenerate(baseline[0], test[0]):
        return score_relative_difference(baseline[0], test[0], factor)
    return fieller_interval(baseline[1], test[1], factor)


def differences(baseline: Sample, samples: Sequence[Sample]) -> tuple[list[float], list[float], list[float]]:
    """Return the samples' differences from the baseline, their standard errors, and Welch's degrees of freedom."""
    return (
        [mean_of(one) - mean_of(baseline) for one in samples],
        [math.hypot(deviation_of(baseline), deviation_of(one)) for one in samples],
        [welch_degrees(baseline, one) for one in samples],
    )


def welch_degrees(baseline: Sample, sample: Sample) -> float:
    """Return Satterthwaite's degrees of freedom."""
    if math.isinf(sample.degrees):
        return math.inf
    first, second = deviation_of(baseline), deviation_of(sample)
    largest = max(first, second)
    if largest == 0:
        return math.inf
    first, second = (first / largest) ** 2, (second / largest) ** 2
    return (first + second) ** 2 / (first**2 / baseline.degrees + second**2 / sample.degrees)


def critical_values(degrees: Sequence[float], alpha: float) -> list[float]:
    r"""Return two-sided critical values of Student's t: :math:`\nu / (\nu + t^2)` is Beta(nu / 2, 1 / 2)."""
    if all(math.isinf(degree) for degree in degrees):
        return [_STANDARD_NORMAL.inv_cdf(1 - alpha / 2)] * len(degrees)
    posteriors = [BetaPosterior(min(degree, _LARGEST_DEGREES) / 2, 0.5) for degree in degrees]
    critical: list[float] = np.exp(-axis_quantiles(posteriors, [alpha])[:, 0] / 2).tolist()
    return critical


def two_sided_p_values(
    baseline: MetricVariant,
    tests: Sequence[MetricVariant],
    estimates: Sequence[float],
    errors: Sequence[float],
    degrees: Sequence[float],
) -> list[float | None]:
    """Return two-sided p-values of each test against the baseline, by the test for the kind of metric.

    ``estimates`` are the differences of the means from the baseline's, with their standard ``errors`` and ``degrees``
    of freedom.

    Conversions: the z test with the pooled rate. Counts: the exact comparison given their sum. Means and ratios:
    Welch's test; None where neither mean varies, because it cannot be made.
    """
    if isinstance(baseline, FunnelVariant):
        return [math.erfc(abs(pooled_z(baseline, test)) / math.sqrt(2)) for test in tests]
    if isinstance(baseline, CountVariant):
        counts = [test for test in tests if isinstance(test, CountVariant)]
        ratios = [one.exposure / baseline.exposure for one in counts]
        return list(map(float, poisson_comparison(baseline.count, [one.count for one in counts], ratios)))
    return welch_p_values(estimates, errors, degrees)


def welch_p_values(estimates: Sequence[float], errors: Sequence[float], degrees: Sequence[float]) -> list[float | None]:
    """Return two-sided p-values of Welch's test; None where a standard error is 0."""
    t = np.array([estimate / error if error > 0 else 0.0 for estimate, error in zip(estimates, errors, strict=True)])
    values = student_p_values(t, np.minimum(np.array(degrees), _LARGEST_DEGREES)).tolist()
    return [value if error > 0 else None for value, error in zip(values, errors, strict=True)]


def anytime_z(baseline: MetricVariant, test: MetricVariant, estimate: float, error: float) -> float | None:
    """Return the difference in standard errors, on which the anytime-valid p-value rests.

    They are those of the two estimates, or pooled where a rate is observed as 0 or 1. None where a mean does not vary.
    """
    if is_degenerate(baseline, test):
        return pooled_z(baseline, test)
    return estimate / error if error > 0 else None


def mean_of(sample: Sample) -> float:
    """Return the mean of a sample that has one."""
    return sample.mean if sample.mean is not None else math.nan


def deviation_of(sample: Sample) -> float:
    """Return the standard error of the mean of a sample that has one."""
    return math.sqrt(sample.variance) if sample.variance is not None else math.nan


def interval_around(center: float, half_width: float) -> Interval:
    return center - half_width, center + half_width
