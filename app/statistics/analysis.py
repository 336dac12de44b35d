"""The analysis of one experiment: every variant's mean and its contrast with a baseline, by several methods at once.

Plain functions over counts: no events, no database, nothing sampled. The same counts give the same digits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal, TypeAlias

import numpy as np

from app.statistics.comparison import Comparison, compare
from app.statistics.contrasts import contrast_intervals
from app.statistics.funnel import FunnelVariant
from app.statistics.intervals import axis_quantiles, equal_tailed_on
from app.statistics.kernel import Array
from app.statistics.multiplicity import Correction, adjust
from app.statistics.normals import compare_normals
from app.statistics.posterior import BetaPosterior, NormalPosterior, Posterior
from app.statistics.quadrature import QuadratureError
from app.statistics.sample_ratio import SampleRatio, check_sample_ratio
from app.statistics.samples import CountVariant, MetricVariant, Sample, sample_of
from app.statistics.sequential import DEFAULT_TUNING, sequential_factor, sequential_p_value
from app.statistics.significance import CONTROL, MIN_EXPOSURE
from app.statistics.tails import poisson_comparison, student_p_values

Method: TypeAlias = Literal["bayesian", "frequentist"]
Interval: TypeAlias = tuple[float, float]
Failure: TypeAlias = Literal["not-enough-exposures", "not-enough-metric-data", "zero-variance", "baseline-mean-is-zero"]
Code: TypeAlias = Literal[
    "significant", "not_enough_exposure", "not_enough_data", "low_win_probability", "high_p_value"
]

MAX_VARIANTS = 20
MIN_EXPECTED = 5  # below so many expected events the normal approximation of a rate is none
_LARGEST_DEGREES = 1e15  # a t distribution of more is a normal one to the last digit
_STANDARD_NORMAL = NormalDist()


@dataclass(frozen=True)
class AnalysisConfig:
    """How to analyse. Without ``baseline`` it is control, or the first variant where there is none.

    ``method`` and ``is_sequential`` say what significance rests on: the credible interval, the confidence interval, or
    (however often one looks) the anytime-valid one. ``correction`` is made over all comparisons that are decided
    together. ``tuning`` is the number of samples at which the anytime-valid interval is narrowest for its kind.
    """

    method: Method = "bayesian"
    confidence_level: float = 0.95
    baseline: str | None = None
    is_sequential: bool = True
    tuning: float = DEFAULT_TUNING
    correction: Correction = "none"

    @property
    def alpha(self) -> float:
        return 1 - self.confidence_level


@dataclass(frozen=True)
class Contrast:
    """A variant's difference from the baseline, absolute or relative to the baseline's mean, as it was observed."""

    estimate: float | None = None
    credible_interval: Interval | None = None
    confidence_interval: Interval | None = None
    sequential_interval: Interval | None = None


@dataclass(frozen=True)
class Decision:
    """``evidence`` is the p-value that significance rests on: for the Bayesian method both tails of the posterior."""

    evidence: float | None
    adjusted: float | None
    code: Code

    @property
    def is_significant(self) -> bool:
        return self.code == "significant"


@dataclass(frozen=True)
class VariantAnalysis:
    """What is known of a variant. None stands for what the data leave open, and for the baseline against itself.

    ``expected_loss`` is what choosing the variant costs on average, should another one be better, and
    ``expected_loss_against_baseline`` the same should the baseline be.
    """

    sample: Sample
    is_baseline: bool
    posterior_mean: float | None = None
    credible_interval: Interval | None = None
    probability_best: float | None = None
    probability_beats_baseline: float | None = None
    expected_loss: float | None = None
    expected_loss_against_baseline: float | None = None
    difference: Contrast = Contrast()
    relative_difference: Contrast = Contrast()
    p_value: float | None = None
    sequential_p_value: float | None = None
    decision: Decision | None = None
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Analysis:
    """The variants in the order they were given. ``leader`` is the one most probably best; None without any data."""

    config: AnalysisConfig
    variants: tuple[VariantAnalysis, ...]
    sample_ratio: SampleRatio | None

    @property
    def baseline(self) -> VariantAnalysis:
        return next(variant for variant in self.variants if variant.is_baseline)

    @property
    def leader(self) -> VariantAnalysis | None:
        known = [variant for variant in self.variants if variant.sample.mean is not None]
        if len(known) < 2:
            return None
        # Equal ones: the baseline leads, as nothing speaks for a change.
        return max(known, key=lambda one: (one.probability_best or 0.0, one.sample.mean or 0.0, one.is_baseline))


def analyse(
    variants: Sequence[MetricVariant], config: AnalysisConfig, split: Mapping[str, float] | None = None
) -> Analysis:
    """Analyse one metric.

    Parameters
    ----------
    variants
        Two to twenty of one kind, with different keys.
    split
        Planned weights by variant, on any scale, to test the numbers of samples against.

    Raises
    ------
    ValueError
        When variants cannot be compared, the baseline is none of them, or the split does not fit them.
    """
    [analysis] = analyse_together([variants], config, split)
    return analysis


def analyse_together(
    metrics: Sequence[Sequence[MetricVariant]], config: AnalysisConfig, split: Mapping[str, float] | None = None
) -> list[Analysis]:
    """Analyse several metrics of an experiment; corrections are made over all their comparisons.

    Raises
    ------
    ValueError
        As ``analyse`` does.
    """
    described = [_describe(variants, config) for variants in metrics]
    evidence = [_evidence(one, config) for variants in described for one in variants]
    adjusted = iter(adjust([value for value in evidence if value is not None], config.correction))
    values = iter(evidence)
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


def _describe(variants: Sequence[MetricVariant], config: AnalysisConfig) -> list[VariantAnalysis]:
    """Work out everything of one metric but the decisions, which depend on other metrics too."""
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
        raise ValueError(f"the baseline {config.baseline!r} is none of the variants")
    return keys.index(config.baseline)


def _with_posteriors(described: list[VariantAnalysis], config: AnalysisConfig) -> list[VariantAnalysis]:
    """Compare the variants that have a posterior; the others, and all without the baseline's, stay as they are.

    So do means whose standard errors differ beyond all reason.
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
    return [_around(one.mean, z * one.deviation) for one in normals]


def _credible_contrasts(
    comparison: Comparison, samples: Sequence[Sample], config: AnalysisConfig
) -> tuple[list[Interval], Sequence[Interval | None]]:
    """Return credible intervals of absolute and relative differences, of all but the first."""
    baseline, *tests = samples
    if not isinstance(baseline.posterior, NormalPosterior):
        exact = contrast_intervals(comparison.grid, config.confidence_level)
        return _intervals(exact.difference), _intervals(exact.ratio - 1)
    # Of normal variables the difference is normal, and quantiles of the ratio are Fieller's where the baseline is
    # safely above zero.
    z = _STANDARD_NORMAL.inv_cdf(1 - config.alpha / 2)
    absolute = [
        _around(_mean(test) - _mean(baseline), z * math.hypot(_deviation(test), _deviation(baseline))) for test in tests
    ]
    return absolute, [_fieller(baseline, test, z) if _mean(baseline) > 0 else None for test in tests]


def _with_tests(
    described: list[VariantAnalysis], ordered: Sequence[MetricVariant], config: AnalysisConfig
) -> list[VariantAnalysis]:
    """Add differences as they were observed, with confidence intervals and p-values."""
    baseline = described[0].sample
    pairs = [(index, one) for index, one in enumerate(described) if index > 0 and _is_comparable(baseline, one.sample)]
    if not pairs:
        return described
    errors = [math.hypot(_deviation(baseline), _deviation(one.sample)) for _, one in pairs]
    degrees = [_welch_degrees(baseline, one.sample) for _, one in pairs]
    factors = _critical_values(degrees, config.alpha)
    p_values = _p_values(ordered, [index for index, _ in pairs], described, errors, degrees)
    result = list(described)
    for (index, one), error, factor, p_value in zip(pairs, errors, factors, p_values, strict=True):
        samples = baseline.number_of_samples + one.sample.number_of_samples
        anytime = sequential_factor(samples, config.alpha, config.tuning)
        estimate = _mean(one.sample) - _mean(baseline)
        result[index] = replace(
            one,
            difference=_absolute(one.difference, baseline, one.sample, factor, anytime, error),
            relative_difference=_relative(one.relative_difference, baseline, one.sample, factor, anytime),
            p_value=p_value,
            sequential_p_value=_anytime_p_value(estimate, error, samples, config),
        )
    return result


def _absolute(
    contrast: Contrast, baseline: Sample, sample: Sample, factor: float, anytime: float, error: float
) -> Contrast:
    estimate = _mean(sample) - _mean(baseline)
    if not error > 0:
        return replace(contrast, estimate=estimate)
    return replace(
        contrast,
        estimate=estimate,
        confidence_interval=_around(estimate, factor * error),
        sequential_interval=_around(estimate, anytime * error),
    )


def _relative(contrast: Contrast, baseline: Sample, sample: Sample, factor: float, anytime: float) -> Contrast:
    if not _mean(baseline) > 0:
        return contrast
    return replace(
        contrast,
        estimate=_mean(sample) / _mean(baseline) - 1,
        confidence_interval=_fieller(baseline, sample, factor),
        sequential_interval=_fieller(baseline, sample, anytime),
    )


def _fieller(baseline: Sample, sample: Sample, factor: float) -> Interval | None:
    r"""Return the relative differences r that put :math:`m - (1 + r) m_0` within ``factor`` standard errors of zero.

    It leaves zero out just when the interval of the absolute difference does, which the delta method's would not. None
    where it has no end: the baseline's mean is not far enough from zero, or nothing varies.

    References
    ----------
    E. C. Fieller, *Some problems in interval estimation*, JRSS B 16 (1954).
    """
    mean = _mean(baseline)
    ratio, own = _mean(sample) / mean, (_deviation(sample) / mean) ** 2
    base = (_deviation(baseline) / mean) ** 2
    rest = 1 - factor * factor * base
    if not (rest > 0 and own + base > 0 and math.isfinite(ratio * ratio)):
        return None
    root = factor * math.sqrt(max(own + ratio * ratio * base - factor * factor * base * own, 0.0))
    return (ratio - root) / rest - 1, (ratio + root) / rest - 1


def _welch_degrees(baseline: Sample, sample: Sample) -> float:
    """Return Satterthwaite's degrees of freedom."""
    if math.isinf(sample.degrees):
        return math.inf
    first, second = _deviation(baseline), _deviation(sample)
    largest = max(first, second)
    if largest == 0:
        return math.inf
    first, second = (first / largest) ** 2, (second / largest) ** 2
    return (first + second) ** 2 / (first**2 / baseline.degrees + second**2 / sample.degrees)


def _critical_values(degrees: Sequence[float], alpha: float) -> list[float]:
    r"""Return two-sided critical values of Student's t: :math:`\nu / (\nu + t^2)` is Beta(nu / 2, 1 / 2)."""
    if all(math.isinf(degree) for degree in degrees):
        return [_STANDARD_NORMAL.inv_cdf(1 - alpha / 2)] * len(degrees)
    posteriors = [BetaPosterior(min(degree, _LARGEST_DEGREES) / 2, 0.5) for degree in degrees]
    critical: list[float] = np.exp(-axis_quantiles(posteriors, [alpha])[:, 0] / 2).tolist()
    return critical


def _p_values(
    ordered: Sequence[MetricVariant],
    indices: Sequence[int],
    described: Sequence[VariantAnalysis],
    errors: Sequence[float],
    degrees: Sequence[float],
) -> list[float | None]:
    """Return two-sided p-values of each test against the baseline, by what suits the metric.

    Conversions: the z test with the pooled rate. Counts: the exact comparison given their sum. Means and ratios:
    Welch's test.
    """
    baseline = ordered[0]
    if isinstance(baseline, FunnelVariant):
        return [_pooled_p_value(baseline, ordered[index]) for index in indices]
    if isinstance(baseline, CountVariant):
        tests = [one for index in indices if isinstance(one := ordered[index], CountVariant)]
        ratios = [one.exposure / baseline.exposure for one in tests]
        return list(map(float, poisson_comparison(baseline.count, [one.count for one in tests], ratios)))
    estimates = [_mean(described[index].sample) - _mean(described[0].sample) for index in indices]
    t = np.array([estimate / error if error > 0 else 0.0 for estimate, error in zip(estimates, errors, strict=True)])
    values = student_p_values(t, np.minimum(np.array(degrees), _LARGEST_DEGREES)).tolist()
    return [
        value if error > 0 or estimate == 0 else None
        for value, error, estimate in zip(values, errors, estimates, strict=True)
    ]


def _pooled_p_value(baseline: FunnelVariant, test: MetricVariant) -> float | None:
    if not isinstance(test, FunnelVariant):
        return None
    total = baseline.total + test.total
    successes = baseline.success_count + test.success_count
    variance = successes / total * ((total - successes) / total) * (1 / baseline.total + 1 / test.total)
    if variance == 0:
        return 1.0
    return math.erfc(abs(test.rate - baseline.rate) / math.sqrt(2 * variance))


def _anytime_p_value(estimate: float, error: float, samples: float, config: AnalysisConfig) -> float | None:
    if error > 0:
        return sequential_p_value(estimate / error, samples, config.alpha, config.tuning)
    return 1.0 if estimate == 0 else None


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
    """Whether, both being equal, either would have fewer than five conversions or events on average, or failures."""
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


def _mean(sample: Sample) -> float:
    """Return the mean of a sample that has one."""
    return sample.mean if sample.mean is not None else math.nan


def _deviation(sample: Sample) -> float:
    """Return the standard error of the mean of a sample that has one."""
    return math.sqrt(sample.variance) if sample.variance is not None else math.nan


def _around(center: float, half_width: float) -> Interval:
    return center - half_width, center + half_width


def _intervals(ends: Array) -> list[Interval]:
    return [(low, high) for low, high in ends.tolist()]
