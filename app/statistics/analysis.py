"""The analysis of metrics: every variant's mean and its contrast with a baseline, by several methods at once.

Everything is a function of counts; nothing is sampled, so that the same counts give the same digits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.common import limits
from app.statistics.estimates import Interval, covariate_sample, samples_of
from app.statistics.failures import failures_of
from app.statistics.frequentist.mean_tests import (
    anytime_z,
    critical_values,
    difference_interval,
    differences,
    mean_of,
    order_statistic_difference,
    relative_interval,
    two_sided_p_values,
    welch_p_values,
)
from app.statistics.frequentist.multiplicity import adjust
from app.statistics.frequentist.sample_ratio import check_sample_ratio
from app.statistics.frequentist.sequential import sequential_factor, sequential_p_value
from app.statistics.posterior_analysis import is_comparable, with_posteriors
from app.statistics.posthog_2022.significance import CONTROL
from app.statistics.results import (
    Analysis,
    AnalysisConfig,
    Code,
    Contrast,
    Decision,
    Goal,
    VariantAnalysis,
)
from app.statistics.variants import FunnelVariant, MetricVariant

MAX_VARIANTS = limits.VARIANTS.value
BIAS_LEVEL = 0.001  # over all covariates together; strict, because the test is repeated at every look


def analyze_metric(
    variants: Sequence[MetricVariant],
    config: AnalysisConfig,
    split: Mapping[str, float] | None = None,
    goal: Goal = "increase",
) -> Analysis:
    """Analyze one metric.

    Parameters
    ----------
    variants
        Two to twenty of one kind, with different keys.
    split
        Planned weights by variant, on any scale, to test the numbers of samples against.
    goal
        Whether more is better, or less.

    Raises
    ------
    ValueError
        When variants cannot be compared, the baseline is not one of them, or the split does not fit them.
    """
    [analysis] = analyze_metrics([variants], config, split, [goal])
    return analysis


def analyze_metrics(
    metrics: Sequence[Sequence[MetricVariant]],
    config: AnalysisConfig,
    split: Mapping[str, float] | None = None,
    goals: Sequence[Goal] | None = None,
) -> list[Analysis]:
    """Analyze several metrics of an experiment; see ``AnalysisConfig`` for what a correction is made over.

    ``goals`` has one for each metric; without them, more is better in all.

    Raises
    ------
    ValueError
        As ``analyze_metric`` does.
    """
    goals = goals or ["increase"] * len(metrics)
    described = [_describe(variants, config, goal) for variants, goal in zip(metrics, goals, strict=True)]
    _with_bias(described, metrics)
    evidence = [[_evidence(one, config) for one in variants] for variants in described]
    adjusted = iter(_adjusted(evidence, config))
    values = iter(value for of_metric in evidence for value in of_metric)
    analyses = []
    for variants, goal in zip(described, goals, strict=True):
        baseline = next(one for one in variants if one.is_baseline)
        decided = []
        for one in variants:
            value = next(values)
            corrected = None if value is None else next(adjusted)
            decision = None if one.is_baseline else _decide(one, baseline, config, value, corrected)
            decided.append(replace(one, decision=decision))
        observed = {one.sample.key: one.sample.number_of_samples for one in decided}
        ratio = None if split is None else check_sample_ratio(observed, split)
        analyses.append(Analysis(config, tuple(decided), ratio, goal))
    return analyses


def _adjusted(evidence: Sequence[Sequence[float | None]], config: AnalysisConfig) -> list[float]:
    """Return the adjusted values of the comparisons that have one, in their order."""
    known = [[value for value in of_metric if value is not None] for of_metric in evidence]
    if config.correction is None:
        return [value for of_metric in known for value in adjust(of_metric, "holm")]
    return adjust([value for of_metric in known for value in of_metric], config.correction)


def _describe(variants: Sequence[MetricVariant], config: AnalysisConfig, goal: Goal) -> list[VariantAnalysis]:
    """Analyze one metric except for the decisions, which depend on the other metrics too."""
    baseline = _baseline_of(variants, config)
    counted = [variants[baseline], *variants[:baseline], *variants[baseline + 1 :]]
    ordered = _adjustable(counted)
    samples = samples_of(ordered)
    described = [VariantAnalysis(sample, is_baseline=index == 0) for index, sample in enumerate(samples)]
    described = with_posteriors(described, config, goal)
    described = _with_tests(described, ordered, config)
    described = [
        replace(one, failures=failures_of(one, described[0], counts, counted[0]))
        for one, counts in zip(described, counted, strict=True)
    ]
    return [*described[1 : baseline + 1], described[0], *described[baseline + 1 :]]


def _adjustable(variants: Sequence[MetricVariant]) -> Sequence[MetricVariant]:
    """Return conversions with covariates as means of 0 and 1.

    They stay what they are where a share is 0 or 1: the mean of equal values has no variance.
    """
    conversions = [one for one in variants if isinstance(one, FunnelVariant) and one.covariate is not None]
    if len(conversions) < len(variants) or any(0 in {one.success_count, one.failure_count} for one in conversions):
        return variants
    return [one.as_mean() for one in conversions]


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


def _with_tests(
    described: list[VariantAnalysis], ordered: Sequence[MetricVariant], config: AnalysisConfig
) -> list[VariantAnalysis]:
    """Add observed differences with confidence intervals and p-values."""
    baseline = described[0].sample
    places = [index for index, one in enumerate(described) if index > 0 and is_comparable(one.sample)]
    if not places or not is_comparable(baseline):
        return described
    samples, tests = [described[index].sample for index in places], [ordered[index] for index in places]
    estimates, errors, degrees = differences(baseline, samples)
    factors = critical_values(degrees, config.alpha)
    p_values = two_sided_p_values(ordered[0], tests, estimates, errors, degrees)
    result = list(described)
    for place, index in enumerate(places):
        one, test, estimate, error = described[index], tests[place], estimates[place], errors[place]
        number = baseline.number_of_samples + one.sample.number_of_samples
        anytime = sequential_factor(number, config.alpha, config.tuning)
        z = anytime_z(ordered[0], test, estimate, error)
        absolute = [
            difference_interval(ordered[0], test, estimate, error, factor) for factor in (factors[place], anytime)
        ]
        result[index] = replace(
            one,
            order_statistic_difference=order_statistic_difference(ordered[0], test),
            difference=_contrast(one.difference, estimate, absolute),
            p_value=p_values[place],
            sequential_p_value=None if z is None else sequential_p_value(z, number, config.alpha, config.tuning),
        )
        if mean_of(baseline) > 0:
            pair = ((ordered[0], baseline), (test, one.sample))
            relative = [relative_interval(*pair, factor) for factor in (factors[place], anytime)]
            ratio = mean_of(one.sample) / mean_of(baseline) - 1
            result[index] = replace(
                result[index], relative_difference=_contrast(one.relative_difference, ratio, relative)
            )
    return result


def _contrast(contrast: Contrast, estimate: float, intervals: Sequence[Interval | None]) -> Contrast:
    confidence, sequential = intervals
    return replace(contrast, estimate=estimate, confidence_interval=confidence, sequential_interval=sequential)


def _with_bias(described: Sequence[list[VariantAnalysis]], metrics: Sequence[Sequence[MetricVariant]]) -> None:
    """Test the covariates of all metrics, and mark variants that differed from the baseline before the exposure."""
    for place, (variants, counts) in enumerate(zip(described, metrics, strict=True)):
        p_values = _covariate_p_values(variants, counts)
        described[place][:] = [
            replace(one, covariate_p_value=p_value) for one, p_value in zip(variants, p_values, strict=True)
        ]
    tested = [one for variants in described for one in variants if one.covariate_p_value is not None]
    for variants in described:
        for index, one in enumerate(variants):
            if one.covariate_p_value is not None and one.covariate_p_value * len(tested) < BIAS_LEVEL:
                variants[index] = replace(one, failures=(*one.failures, "pre-exposure-bias"))


def _covariate_p_values(variants: Sequence[VariantAnalysis], counts: Sequence[MetricVariant]) -> list[float | None]:
    """Return p-values of Welch's test of each variant's covariate; None for the baseline, and without a covariate."""
    samples = [covariate_sample(one) for one in counts]
    place = next(index for index, one in enumerate(variants) if one.is_baseline)
    baseline = samples[place]
    p_values: list[float | None] = [None] * len(samples)
    tested = [(index, one) for index, one in enumerate(samples) if index != place and one and is_comparable(one)]
    if baseline is None or not is_comparable(baseline) or not tested:
        return p_values
    found = welch_p_values(*differences(baseline, [one for _, one in tested]))
    for (index, _), p_value in zip(tested, found, strict=True):
        p_values[index] = p_value
    return p_values


def _evidence(one: VariantAnalysis, config: AnalysisConfig) -> float | None:
    if one.is_baseline:
        return None
    if config.is_sequential:
        return one.sequential_p_value
    if config.method == "frequentist":
        return one.p_value
    beats, loses = one.probability_beats_baseline, one.probability_loses_to_baseline
    return None if beats is None or loses is None else min(2 * beats, 2 * loses, 1.0)


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
