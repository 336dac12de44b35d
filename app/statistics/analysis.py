"""The analysis of metrics: every variant's mean and its contrast with a baseline, by several methods at once.

Everything is a function of counts; nothing is sampled, so that the same counts give the same digits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist

from app.common import limits
from app.statistics.bayesian.comparison import Comparison, compare
from app.statistics.bayesian.contrasts import contrast_intervals
from app.statistics.bayesian.intervals import equal_tailed_on
from app.statistics.bayesian.normal_comparison import compare_normals
from app.statistics.estimates import Interval, Sample, sample_of
from app.statistics.frequentist.mean_tests import (
    anytime_p_value,
    critical_values,
    deviation_of,
    fieller_interval,
    interval_around,
    mean_of,
    two_sided_p_values,
    welch_degrees,
)
from app.statistics.frequentist.multiplicity import adjust
from app.statistics.frequentist.sample_ratio import check_sample_ratio
from app.statistics.frequentist.sequential import sequential_factor
from app.statistics.numerics.log_densities import Array
from app.statistics.numerics.quadrature import QuadratureError
from app.statistics.posteriors import NormalPosterior, Posterior
from app.statistics.posthog_2022.significance import CONTROL, MIN_EXPOSURE
from app.statistics.results import (
    Analysis,
    AnalysisConfig,
    Code,
    Contrast,
    Decision,
    Failure,
    VariantAnalysis,
)
from app.statistics.variants import CountVariant, FunnelVariant, MetricVariant

MAX_VARIANTS = limits.VARIANTS.value
MIN_EXPECTED = 5  # with fewer expected events the normal approximation of a rate does not hold
_STANDARD_NORMAL = NormalDist()


def analyze_metric(
    variants: Sequence[MetricVariant], config: AnalysisConfig, split: Mapping[str, float] | None = None
) -> Analysis:
    """Analyze one metric.

    Parameters
    ----------
    variants
        Two to twenty of one kind, with different keys.
    split
        Planned weights by variant, on any scale, to test the numbers of samples against.

    Raises
    ------
    ValueError
        When variants cannot be compared, the baseline is not one of them, or the split does not fit them.
    """
    [analysis] = analyze_metrics([variants], config, split)
    return analysis


def analyze_metrics(
    metrics: Sequence[Sequence[MetricVariant]], config: AnalysisConfig, split: Mapping[str, float] | None = None
) -> list[Analysis]:
    """Analyze several metrics of an experiment; see ``AnalysisConfig`` for what a correction is made over.

    Raises
    ------
    ValueError
        As ``analyze_metric`` does.
    """
    described = [_describe(variants, config) for variants in metrics]
    evidence = [[_evidence(one, config) for one in variants] for variants in described]
    adjusted = iter(_adjusted(evidence, config))
    values = iter(value for of_metric in evidence for value in of_metric)
    analyses = []
    for variants in described:
        baseline = next(one for one in variants if one.is_baseline)
        decided = []
        for one in variants:
            value = next(values)
            corrected = None if value is None else next(adjusted)
            decision = None if one.is_baseline else _decide(one, baseline, config, value, corrected)
            decided.append(replace(one, decision=decision))
        observed = {one.sample.key: one.sample.number_of_samples for one in decided}
        ratio = None if split is None else check_sample_ratio(observed, split)
        analyses.append(Analysis(config, tuple(decided), ratio))
    return analyses


def _adjusted(evidence: Sequence[Sequence[float | None]], config: AnalysisConfig) -> list[float]:
    """Return the adjusted values of the comparisons that have one, in their order."""
    known = [[value for value in of_metric if value is not None] for of_metric in evidence]
    if config.correction is None:
        return [value for of_metric in known for value in adjust(of_metric, "holm")]
    return adjust([value for of_metric in known for value in of_metric], config.correction)


def _describe(variants: Sequence[MetricVariant], config: AnalysisConfig) -> list[VariantAnalysis]:
    """Analyze one metric except for the decisions, which depend on the other metrics too."""
    baseline = _baseline_of(variants, config)
    ordered = [variants[baseline], *variants[:baseline], *variants[baseline + 1 :]]
    samples = [sample_of(variant) for variant in ordered]
    described = [VariantAnalysis(sample, is_baseline=index == 0) for index, sample in enumerate(samples)]
    described = _with_posteriors(described, config)
    described = _with_tests(described, ordered, config)
    described = [replace(one, failures=_failures(one, described[0], ordered)) for one in described]
    return [*described[1 : baseline + 1], described[0], *described[baseline + 1 :]]


def _baseline_of(variants: Sequence[MetricVariant], config: AnalysisConfig) -> int:
    keys = [variant.key for variant in variants]
    if len(keys) < 2:
        raise ValueError(f"need at least two variants, got {len(keys)}")
    if len(keys) > MAX_VARIANTS:
        raise ValueError(f"need at most {MAX_VARIANTS} variants, got {len(keys)}")
    if len(set(keys)) < len(keys):
        raise ValueError("variants must have different keys")
    if len({type(variant) for variant in variants}) > 1:
        raise ValueError("variants must have counts of one kind")
    if config.baseline is None:
        return keys.index(CONTROL) if CONTROL in keys else 0
    if config.baseline not in keys:
        raise ValueError(f"the baseline {config.baseline!r} is not one of the variants")
    return keys.index(config.baseline)


def _with_posteriors(described: list[VariantAnalysis], config: AnalysisConfig) -> list[VariantAnalysis]:
    """Add the comparison of the variants that have a posterior; without the baseline's, no variant is compared.

    Means whose standard errors differ by more than the quadrature allows are not compared either.
    """
    known = [(index, one.sample.posterior) for index, one in enumerate(described) if one.sample.posterior is not None]
    if len(known) < 2 or known[0][0] != 0:
        return described
    try:
        comparison = _compare([posterior for _, posterior in known])
    except QuadratureError:
        return described
    intervals = _credible_intervals(comparison, [posterior for _, posterior in known], config)
    differences, relatives = _credible_contrasts(comparison, [described[index].sample for index, _ in known], config)
    result = list(described)
    for place, (index, posterior) in enumerate(known):
        one = replace(
            described[index],
            posterior_mean=posterior.mean,
            credible_interval=intervals[place],
            probability_best=float(comparison.win_probabilities[place]),
            expected_loss=float(comparison.losses_against_all[place]),
        )
        if place > 0:
            one = replace(
                one,
                probability_beats_baseline=float(comparison.probabilities_to_beat_control[place]),
                expected_loss_against_baseline=float(comparison.losses_against_control[place]),
                difference=Contrast(credible_interval=differences[place - 1]),
                relative_difference=Contrast(credible_interval=relatives[place - 1]),
            )
        result[index] = one
    return result


def _compare(posteriors: Sequence[Posterior]) -> Comparison:
    normals = [posterior for posterior in posteriors if isinstance(posterior, NormalPosterior)]
    return compare_normals(normals) if normals else compare(posteriors)


def _credible_intervals(
    comparison: Comparison, posteriors: Sequence[Posterior], config: AnalysisConfig
) -> list[Interval]:
    normals = [posterior for posterior in posteriors if isinstance(posterior, NormalPosterior)]
    if not normals:
        return _intervals(equal_tailed_on(comparison.grid, config.confidence_level))
    z = _STANDARD_NORMAL.inv_cdf(1 - config.alpha / 2)
    return [interval_around(one.mean, z * one.deviation) for one in normals]


def _credible_contrasts(
    comparison: Comparison, samples: Sequence[Sample], config: AnalysisConfig
) -> tuple[list[Interval], Sequence[Interval | None]]:
    """Return credible intervals of absolute and relative differences, for all variants but the first."""
    baseline, *tests = samples
    if not isinstance(baseline.posterior, NormalPosterior):
        exact = contrast_intervals(comparison.grid, config.confidence_level)
        return _intervals(exact.difference), _intervals(exact.ratio - 1)
    # Of normal variables the difference is normal, and quantiles of the ratio are Fieller's where the baseline is
    # safely above zero.
    z = _STANDARD_NORMAL.inv_cdf(1 - config.alpha / 2)
    absolute = [
        interval_around(mean_of(test) - mean_of(baseline), z * math.hypot(deviation_of(test), deviation_of(baseline)))
        for test in tests
    ]
    return absolute, [fieller_interval(baseline, test, z) if mean_of(baseline) > 0 else None for test in tests]


def _with_tests(
    described: list[VariantAnalysis], ordered: Sequence[MetricVariant], config: AnalysisConfig
) -> list[VariantAnalysis]:
    """Add observed differences with confidence intervals and p-values."""
    baseline = described[0].sample
    pairs = [(index, one) for index, one in enumerate(described) if index > 0 and _is_comparable(baseline, one.sample)]
    if not pairs:
        return described
    errors = [math.hypot(deviation_of(baseline), deviation_of(one.sample)) for _, one in pairs]
    degrees = [welch_degrees(baseline, one.sample) for _, one in pairs]
    factors = critical_values(degrees, config.alpha)
    estimates = [mean_of(one.sample) - mean_of(baseline) for _, one in pairs]
    tests = [ordered[index] for index, _ in pairs]
    p_values = two_sided_p_values(ordered[0], tests, estimates, errors, degrees)
    result = list(described)
    for (index, one), estimate, error, factor, p_value in zip(pairs, estimates, errors, factors, p_values, strict=True):
        samples = baseline.number_of_samples + one.sample.number_of_samples
        anytime = sequential_factor(samples, config.alpha, config.tuning)
        result[index] = replace(
            one,
            difference=_absolute(one.difference, baseline, one.sample, factor, anytime, error),
            relative_difference=_relative(one.relative_difference, baseline, one.sample, factor, anytime),
            p_value=p_value,
            sequential_p_value=anytime_p_value(estimate, error, samples, config.alpha, config.tuning),
        )
    return result


def _absolute(
    contrast: Contrast, baseline: Sample, sample: Sample, factor: float, anytime: float, error: float
) -> Contrast:
    estimate = mean_of(sample) - mean_of(baseline)
    if not error > 0:
        return replace(contrast, estimate=estimate)
    return replace(
        contrast,
        estimate=estimate,
        confidence_interval=interval_around(estimate, factor * error),
        sequential_interval=interval_around(estimate, anytime * error),
    )


def _relative(contrast: Contrast, baseline: Sample, sample: Sample, factor: float, anytime: float) -> Contrast:
    if not mean_of(baseline) > 0:
        return contrast
    return replace(
        contrast,
        estimate=mean_of(sample) / mean_of(baseline) - 1,
        confidence_interval=fieller_interval(baseline, sample, factor),
        sequential_interval=fieller_interval(baseline, sample, anytime),
    )


def _failures(one: VariantAnalysis, baseline: VariantAnalysis, ordered: Sequence[MetricVariant]) -> tuple[Failure, ...]:
    sample = one.sample
    found: list[Failure] = []
    if sample.number_of_samples < MIN_EXPOSURE:
        found.append("not-enough-exposures")
    if not one.is_baseline and _expects_too_few(baseline.sample, sample, ordered[0]):
        found.append("not-enough-metric-data")
    if sample.posterior is None and sample.number_of_samples >= 2:
        found.append("zero-variance")
    if one.is_baseline and sample.mean is not None and sample.mean == 0:
        found.append("baseline-mean-is-zero")
    return tuple(found)


def _expects_too_few(baseline: Sample, sample: Sample, kind: MetricVariant) -> bool:
    """Whether, at equal rates, either variant would expect fewer than five events, conversions or failures."""
    if not isinstance(kind, FunnelVariant | CountVariant):
        return False
    total = baseline.number_of_samples + sample.number_of_samples
    if total == 0:
        return True
    smaller = min(baseline.number_of_samples, sample.number_of_samples)
    events = baseline.sum + sample.sum
    rarer = min(events, total - events) if isinstance(kind, FunnelVariant) else events
    return smaller / total * rarer < MIN_EXPECTED


def _evidence(one: VariantAnalysis, config: AnalysisConfig) -> float | None:
    if one.is_baseline:
        return None
    if config.is_sequential:
        return one.sequential_p_value
    if config.method == "frequentist":
        return one.p_value
    beats = one.probability_beats_baseline
    return None if beats is None else 2 * min(beats, 1 - beats)


def _decide(
    one: VariantAnalysis,
    baseline: VariantAnalysis,
    config: AnalysisConfig,
    evidence: float | None,
    adjusted: float | None,
) -> Decision:
    return Decision(evidence, adjusted, _code(one, baseline, config, adjusted))


def _code(one: VariantAnalysis, baseline: VariantAnalysis, config: AnalysisConfig, adjusted: float | None) -> Code:
    is_exact = config.method == "bayesian" and not config.is_sequential
    if "not-enough-exposures" in one.failures + baseline.failures:
        return "not_enough_exposure"
    if adjusted is None or ("not-enough-metric-data" in one.failures and not is_exact):
        return "not_enough_data"
    if adjusted < config.alpha:
        return "significant"
    return "low_win_probability" if is_exact else "high_p_value"


def _is_comparable(baseline: Sample, sample: Sample) -> bool:
    return all(
        one.mean is not None and one.variance is not None and math.isfinite(one.mean) and math.isfinite(one.variance)
        for one in (baseline, sample)
    )


def _intervals(ends: Array) -> list[Interval]:
    return [(low, high) for low, high in ends.tolist()]
