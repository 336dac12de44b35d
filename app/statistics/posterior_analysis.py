"""The posterior part of an analysis: probabilities, expected losses and credible intervals of every variant."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

from app.statistics.bayesian.comparison import Comparison, compare
from app.statistics.bayesian.contrasts import contrast_intervals
from app.statistics.bayesian.intervals import equal_tailed_on
from app.statistics.bayesian.normal_comparison import compare_normals
from app.statistics.estimates import Interval, Sample
from app.statistics.frequentist.mean_tests import deviation_of, fieller_interval, interval_around, mean_of
from app.statistics.numerics.log_densities import Array
from app.statistics.numerics.quadrature import QuadratureError
from app.statistics.posteriors import NormalPosterior, Posterior
from app.statistics.results import AnalysisConfig, Contrast, Goal, VariantAnalysis

_STANDARD_NORMAL = NormalDist()


def with_posteriors(described: Sequence[VariantAnalysis], config: AnalysisConfig, goal: Goal) -> list[VariantAnalysis]:
    """Add the comparison of the variants, the baseline first.

    Rates that nothing is known of have a posterior too. Means of fewer than two samples are not compared, and without
    the baseline's no mean is; a mean without variance is compared as a known number.
    """
    if isinstance(described[0].sample.posterior, NormalPosterior) or any(
        one.sample.posterior is None for one in described
    ):
        return _with_normals(described, config, goal)
    return _with_rates(described, config, goal)


def is_comparable(sample: Sample) -> bool:
    """Whether a sample has a finite mean and variance."""
    return (
        sample.mean is not None
        and sample.variance is not None
        and math.isfinite(sample.mean)
        and math.isfinite(sample.variance)
    )


def _with_rates(described: Sequence[VariantAnalysis], config: AnalysisConfig, goal: Goal) -> list[VariantAnalysis]:
    """Compare Beta or Gamma posteriors."""
    posteriors = [one.sample.posterior for one in described if one.sample.posterior is not None]
    try:
        comparison = compare(posteriors, lowest_is_best=goal == "decrease")
    except QuadratureError:
        return list(described)
    exact = contrast_intervals(comparison.grid, config.confidence_level)
    intervals = _intervals(equal_tailed_on(comparison.grid, config.confidence_level))
    contrasts = [None, *zip(_intervals(exact.difference), _intervals(exact.ratio - 1), strict=True)]
    return [
        _with_rate(one, posterior, place, comparison, intervals[place], contrasts[place])
        for place, (one, posterior) in enumerate(zip(described, posteriors, strict=True))
    ]


def _with_rate(
    one: VariantAnalysis,
    posterior: Posterior,
    place: int,
    comparison: Comparison,
    interval: Interval,
    contrast: tuple[Interval, Interval] | None,
) -> VariantAnalysis:
    found = replace(
        one,
        posterior_mean=posterior.mean,
        credible_interval=interval,
        probability_best=float(comparison.win_probabilities[place]),
        expected_loss=float(comparison.losses_against_all[place]),
    )
    if contrast is None:
        return found
    return replace(
        found,
        probability_beats_baseline=float(comparison.probabilities_to_beat_control[place]),
        probability_loses_to_baseline=float(comparison.probabilities_to_lose_to_control[place]),
        expected_loss_against_baseline=float(comparison.losses_against_control[place]),
        difference=Contrast(credible_interval=contrast[0]),
        relative_difference=Contrast(credible_interval=contrast[1]),
    )


def _with_normals(described: Sequence[VariantAnalysis], config: AnalysisConfig, goal: Goal) -> list[VariantAnalysis]:
    z = _STANDARD_NORMAL.inv_cdf(1 - config.alpha / 2)
    result = [_with_own_posterior(one, z) for one in described]
    known = [index for index, one in enumerate(described) if is_comparable(one.sample)]
    if len(known) < 2 or known[0] != 0:
        return result
    samples = [described[index].sample for index in known]
    sign = -1 if goal == "decrease" else 1  # of mirrored variables the highest is the lowest
    means = [sign * mean_of(one) for one in samples]
    comparison = compare_normals(means, [deviation_of(one) for one in samples])
    for place, index in enumerate(known):
        one = replace(
            result[index],
            probability_best=_known(comparison.win_probabilities, place),
            expected_loss=_known(comparison.losses_against_all, place),
        )
        if place > 0:
            absolute, relative = _normal_contrasts(samples[0], samples[place], z)
            one = replace(
                one,
                probability_beats_baseline=_known(comparison.probabilities_to_beat_control, place),
                probability_loses_to_baseline=_known(comparison.probabilities_to_lose_to_control, place),
                expected_loss_against_baseline=_known(comparison.losses_against_control, place),
                difference=Contrast(credible_interval=absolute),
                relative_difference=Contrast(credible_interval=relative),
            )
        result[index] = one
    return result


def _with_own_posterior(one: VariantAnalysis, z: float) -> VariantAnalysis:
    posterior = one.sample.posterior
    if not isinstance(posterior, NormalPosterior):
        return one
    interval = interval_around(posterior.mean, z * posterior.deviation)
    return replace(one, posterior_mean=posterior.mean, credible_interval=interval)


def _normal_contrasts(baseline: Sample, test: Sample, z: float) -> tuple[Interval | None, Interval | None]:
    """Return credible intervals of the absolute and the relative difference.

    Of normal variables the difference is normal, and quantiles of the ratio are Fieller's where the baseline is safely
    above zero.
    """
    error = math.hypot(deviation_of(test), deviation_of(baseline))
    if not error > 0:
        return None, None
    absolute = interval_around(mean_of(test) - mean_of(baseline), z * error)
    return absolute, fieller_interval(baseline, test, z) if mean_of(baseline) > 0 else None


def _known(values: Array | None, place: int) -> float | None:
    if values is None or math.isnan(values[place]):
        return None
    return float(values[place])


def _intervals(ends: Array) -> list[Interval]:
    return [(low, high) for low, high in ends.tolist()]
