"""The configuration of an analysis, and its results: contrasts, decisions and variants."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from app.statistics.estimates import Interval, Sample
from app.statistics.frequentist.multiplicity import Correction
from app.statistics.frequentist.sample_ratio import SampleRatio
from app.statistics.frequentist.sequential import DEFAULT_TUNING

Method: TypeAlias = Literal["bayesian", "frequentist"]
Goal: TypeAlias = Literal["increase", "decrease"]
Failure: TypeAlias = Literal[
    "not-enough-exposures",
    "not-enough-metric-data",
    "zero-variance",
    "denominator-is-zero",
    "out-of-range",
    "baseline-mean-is-zero",
    "baseline-mean-is-negative",
    "posteriors-not-comparable",
    "relative-interval-unbounded",
    "pre-exposure-bias",
]
Code: TypeAlias = Literal[
    "significant", "not_enough_exposure", "not_enough_data", "low_win_probability", "high_p_value"
]


@dataclass(frozen=True)
class AnalysisConfig:
    """How to analyze metrics. The default ``baseline`` is control, or the first variant if there is no control.

    ``method`` and ``is_sequential`` choose what significance rests on: the credible interval, the confidence interval,
    or the anytime-valid one, which allows repeated looks. ``correction`` is made over all comparisons that are decided
    together; without one, Holm's is made over the variants of each metric. ``tuning`` is the number of samples at which
    the anytime-valid interval is narrowest, relative to that of a single look.
    """

    method: Method = "bayesian"
    confidence_level: float = 0.95
    baseline: str | None = None
    is_sequential: bool = True
    tuning: float = DEFAULT_TUNING
    correction: Correction | None = None

    @property
    def alpha(self) -> float:
        return 1 - self.confidence_level

    def correction_of(self, test_variants: int) -> Correction:
        """Return the correction: unless one is given, Holm's where several variants are compared with the baseline."""
        return self.correction or ("holm" if test_variants > 1 else "none")


@dataclass(frozen=True)
class Contrast:
    """A variant's observed difference from the baseline, absolute or relative to the baseline's mean."""

    estimate: float | None = None
    credible_interval: Interval | None = None
    confidence_interval: Interval | None = None
    sequential_interval: Interval | None = None


@dataclass(frozen=True)
class Decision:
    """Whether a variant is significant. ``evidence`` is the p-value, or twice the smaller tail of the posterior."""

    evidence: float | None
    adjusted: float | None
    code: Code

    @property
    def is_significant(self) -> bool:
        return self.code == "significant"


@dataclass(frozen=True)
class VariantAnalysis:
    """The analysis of a variant. None stands for figures that the data do not determine, and for the baseline itself.

    What is better, and so the probabilities and losses, depends on the goal of the metric: higher, or lower.
    ``expected_loss`` is the average cost of choosing the variant when another one is better, and
    ``expected_loss_against_baseline`` the same for the baseline. ``order_statistic_difference`` is the interval of the
    difference of two quantiles from their order statistics. ``covariate_p_value`` is of Welch's test that the
    covariate's mean is the baseline's: before the exposure it should be.
    """

    sample: Sample
    is_baseline: bool
    posterior_mean: float | None = None
    credible_interval: Interval | None = None
    probability_best: float | None = None
    probability_beats_baseline: float | None = None
    probability_loses_to_baseline: float | None = None
    expected_loss: float | None = None
    expected_loss_against_baseline: float | None = None
    order_statistic_difference: Interval | None = None
    difference: Contrast = Contrast()
    relative_difference: Contrast = Contrast()
    p_value: float | None = None
    sequential_p_value: float | None = None
    covariate_p_value: float | None = None
    decision: Decision | None = None
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Analysis:
    """The analysis of a metric, with the variants in the order in which they were given."""

    config: AnalysisConfig
    variants: tuple[VariantAnalysis, ...]
    sample_ratio: SampleRatio | None
    goal: Goal = "increase"

    @property
    def baseline(self) -> VariantAnalysis:
        return next(variant for variant in self.variants if variant.is_baseline)

    @property
    def correction(self) -> Correction:
        """The correction that took effect."""
        return self.config.correction_of(len(self.variants) - 1)

    @property
    def leader(self) -> VariantAnalysis | None:
        """The variant most probably best; None with data of fewer than two variants."""
        known = [variant for variant in self.variants if variant.sample.mean is not None]
        if len(known) < 2:
            return None
        sign = -1 if self.goal == "decrease" else 1

        def rank(one: VariantAnalysis) -> tuple[float, float, bool]:
            # Among equals the baseline leads, because there is no evidence for a change.
            return one.probability_best or 0.0, sign * (one.sample.mean or 0.0), one.is_baseline

        return max(known, key=rank)
