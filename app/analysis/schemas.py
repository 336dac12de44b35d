"""What the analysis of counts answers with."""

from typing import Literal, TypeAlias

from pydantic import ConfigDict, Field

from app.analysis.config_schemas import StatsConfigRead
from app.analysis.examples import ANALYSIS_EXAMPLE
from app.http.schemas import ResponseBody
from app.statistics.results import Code, Failure, Goal

MetricType: TypeAlias = Literal["funnel", "count", "mean", "ratio", "quantile"]
Ends: TypeAlias = tuple[float, float]


class VariantAnalysisRead(ResponseBody):
    """The analysis of a variant. What the data do not determine is null, and so are comparisons of the baseline."""

    key: str = Field(description="The variant.")
    number_of_samples: float = Field(description="Persons; of counts the exposure, unless persons were sent beside it.")
    sum: float | None = Field(
        description="Sum of what was measured: conversions, events or amounts. Null of a quantile."
    )
    sum_squares: float | None
    mean: float | None = Field(
        description="As observed: conversion rate, events per exposure, amount per person, quantile; adjusted by a "
        "covariate."
    )
    unadjusted_mean: float | None = Field(description="The mean without the adjustment; null without a covariate.")
    theta: float | None = Field(
        description="The factor of the covariate, from all variants together: its covariance with the amount, divided "
        "by its variance; 0 if it does not vary."
    )
    variance_reduction: float | None = Field(description="Share of the variance that the adjustment removed.")
    covariate_p_value: float | None = Field(
        description="Two-sided Welch's test of the covariate against the baseline's. Variants should not differ before "
        "they are exposed: below 0.001 divided by the number of comparisons is `pre-exposure-bias`."
    )
    order_statistic_interval: Ends | None = Field(
        description="Of a quantile: the values between which it lies with the confidence level, whatever the "
        "distribution is. All other intervals are those of the normal distribution with this one; "
        "where many values are equal it may have no width, and then there is no test."
    )
    delta_order_statistic_interval: Ends | None = Field(
        description="Of a quantile: the difference, from the order statistics of both variants (variance recovery)."
    )
    posterior_mean: float | None = Field(description="Mean of the posterior distribution.")
    credible_interval: Ends | None = Field(description="Equal-tailed credible interval of the mean.")
    probability_best: float | None = Field(
        description="Probability that the variant is the best: that it has the highest mean, or with the goal "
        "`decrease` the lowest."
    )
    chance_to_win: float | None = Field(
        description="Probability that it is better than the baseline: that its mean is above the baseline's, or with "
        "the goal `decrease` below."
    )
    expected_loss: float | None = Field(
        description="Expected loss if it is chosen and another one is better, in the unit of the mean."
    )
    expected_loss_vs_baseline: float | None = Field(
        description="Expected loss if it is chosen and the baseline is better."
    )
    delta: float | None = Field(description="Observed difference from the baseline's mean.")
    delta_credible_interval: Ends | None = Field(
        description="Credible interval of it: exact for conversions and counts."
    )
    confidence_interval: Ends | None = Field(description="Confidence interval of it, valid for a single look.")
    sequential_interval: Ends | None = Field(description="Anytime-valid interval of the difference.")
    delta_relative: float | None = Field(description="The difference, relative to the baseline's mean.")
    delta_relative_credible_interval: Ends | None = Field(
        description="Credible interval of the relative difference: exact for conversions and counts."
    )
    relative_confidence_interval: Ends | None = Field(description="Fieller interval of it, valid for a single look.")
    relative_sequential_interval: Ends | None = Field(description="Anytime-valid interval of the relative difference.")
    p_value: float | None = Field(
        description="Two-sided, for a single look: pooled z test, exact comparison of counts, or Welch's t test."
    )
    sequential_p_value: float | None = Field(description="Two-sided, anytime-valid.")
    adjusted_p_value: float | None = Field(
        description="The p-value behind `significant`, corrected for multiple testing; of the posterior, both tails."
    )
    significant: bool | None = Field(description="Whether `significance_code` is `significant`.")
    significance_code: Code | None = Field(
        description="`not_enough_exposure`: fewer than 100 samples. `not_enough_data`: no variance, or too few events "
        "for the method. `low_win_probability` / `high_p_value`: not at this confidence."
    )
    validation_failures: list[Failure] = Field(
        description="Why figures of this variant are unreliable or missing. `not-enough-exposures`: fewer than 100 "
        "samples. `not-enough-metric-data`: fewer than five events or failures to be expected, or too few values "
        "around a quantile. `zero-variance`: all values are the same, or all around a quantile. "
        "`denominator-is-zero`: there is no ratio. `baseline-mean-is-zero`, `baseline-mean-is-negative`: there is no "
        "relative difference. `relative-interval-unbounded`: the baseline's mean is too close to zero. "
        "`posteriors-not-comparable`: standard errors differ by more than twelve orders of magnitude. `out-of-range`: "
        "the mean or its variance is too large for a number. `pre-exposure-bias`: see `covariate_p_value`."
    )


class SampleRatioRead(ResponseBody):
    expected: dict[str, float] = Field(description="Samples that each variant should have.")
    chi_square: float | None = Field(
        description="Null where it is infinite: a variant of weight 0 has samples.", examples=[0.36]
    )
    p_value: float = Field(description="0 where a variant of weight 0 has samples.", examples=[0.55])
    mismatch: bool = Field(
        description="p below 0.001 with at least 100 samples, or any sample of a variant of weight 0: assignment or "
        "tracking is broken."
    )


class AnalysisRead(ResponseBody):
    model_config = ConfigDict(json_schema_extra={"examples": [ANALYSIS_EXAMPLE]})

    metric_type: MetricType
    stats_config: StatsConfigRead
    goal: Goal = Field(
        default="increase",
        description="Which means are better, higher or lower ones: what probabilities and losses are about. In "
        "snapshots of older versions `increase` beside a metric's goal `decrease`: then `probability_best` is that of "
        "having the highest mean.",
    )
    leader: str | None = Field(description="The variant that is most probably the best, which may be the baseline.")
    conclusion: str = Field(description="The result in words.")
    variants: list[VariantAnalysisRead] = Field(description="In the order they were sent.")
    sample_ratio_mismatch: SampleRatioRead | None = Field(description="Null without `expected_split`.")
