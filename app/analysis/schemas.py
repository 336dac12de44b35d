"""Request and response bodies of analysis and planning."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import ConfigDict, Field, RootModel, model_validator
from pydantic_core import PydanticCustomError

from app.analysis.examples import ANALYSIS_EXAMPLE, FUNNEL_EXAMPLE, PLAN_EXAMPLE, POWER_EXAMPLE
from app.analysis.quantities import (
    COVARIATE_OF_RATIO,
    MOST_VARIANTS,
    Amount,
    Count,
    ErrorRate,
    GroupCount,
    Level,
    Power,
    Quantity,
    Square,
    Weight,
)
from app.http.fields import Boolean, Omittable, OptionalText, Text
from app.http.schemas import ResponseBody, StrictBody
from app.statistics.frequentist.multiplicity import Correction
from app.statistics.frequentist.power import Rule
from app.statistics.frequentist.sequential import DEFAULT_TUNING
from app.statistics.results import Code, Failure, Method

MetricType: TypeAlias = Literal["funnel", "count", "mean", "ratio", "quantile"]
PlannedMetricType: TypeAlias = Literal["funnel", "count", "mean"]


class SequentialConfig(StrictBody):
    enabled: Boolean = Field(
        default=True,
        description="Whether `significant` is based on the anytime-valid p-value, which allows daily looks.",
    )
    tuning_parameter: Quantity = Field(
        default=DEFAULT_TUNING,
        description="Samples of both variants at which the anytime-valid interval is tightest.",
    )


class StatsConfig(StrictBody):
    method: Method = Field(
        default="bayesian",
        description="What `significant` is based on when `sequential` is off: the posterior, or the p-value.",
    )
    confidence_level: Level = Field(default=0.95, description="Of all intervals; the significance level is 1 minus it.")
    sequential: SequentialConfig = SequentialConfig()
    baseline_variant_key: OptionalText = Field(
        default=None,
        description="The variant that others are compared with; if unset, `control` or else the first variant.",
    )
    multiple_testing: Correction | None = Field(
        default=None,
        description="Correction for comparing several variants with the baseline. Unless it is given, Holm's is made "
        "over the variants of each metric; one that is given is made over all comparisons of an experiment's metrics.",
    )


_COVARIATE = ("covariate_sum", "covariate_sum_squares", "main_covariate_sum_product")


class VariantCounts(StrictBody):
    @model_validator(mode="before")
    @classmethod
    def refuse_covariates(cls, document: object) -> object:
        """Refuse a covariate where it would be ignored."""
        if (
            isinstance(document, dict)
            and "covariate_sum" not in cls.model_fields
            and document.keys() & set(COVARIATE_OF_RATIO)
        ):
            raise PydanticCustomError("invalid_input", "Only shares, means and ratios are adjusted by a covariate.")
        return document

    def _require_all(self, names: Sequence[str]) -> None:
        """Refuse a covariate of which some sums are missing."""
        missing = [name for name in names if getattr(self, name) is None]
        if 0 < len(missing) < len(names):
            raise PydanticCustomError("required", "A covariate needs {names} too.", {"names": " and ".join(missing)})


class FunnelVariantCounts(VariantCounts):
    key: Text = Field(description="The variant.", examples=["test"])
    success_count: Count = Field(description="Persons that converted.", examples=[150])
    failure_count: Count = Field(description="Persons that did not.", examples=[850])
    covariate_sum: Omittable[Amount] = Field(
        default=None,
        description="Sum of a covariate, such as 1 for each person who had converted before they were exposed. With it "
        "the share is adjusted (CUPED), as a mean of 0 and 1; send all three sums for all variants.",
    )
    covariate_sum_squares: Omittable[Square] = Field(default=None, description="Sum of the covariate's squares.")
    main_covariate_sum_product: Omittable[Amount] = Field(
        default=None, description="Sum of the covariate of those who converted."
    )

    @model_validator(mode="after")
    def require_whole_covariate(self) -> Self:
        self._require_all(_COVARIATE)
        return self


class CountVariantCounts(VariantCounts):
    key: Text = Field(description="The variant.", examples=["test"])
    count: Count = Field(description="Events.", examples=[380])
    exposure: Quantity = Field(
        description="What the events are divided by: persons exposed, or hours, sessions, page views.", examples=[1010]
    )
    number_of_samples: Omittable[Weight] = Field(
        default=None,
        description="Persons exposed, where `exposure` is something else: the least number of samples, the anytime-"
        "valid interval and the split go by persons. If unset, one unit of exposure is one person.",
    )


class AmountCounts(VariantCounts):
    key: Text = Field(description="The variant.", examples=["test"])
    number_of_samples: Count = Field(description="Persons, including those with an amount of 0.", examples=[21307])
    sum: Amount = Field(description="Sum of all persons' amounts.", examples=[30311.69])
    sum_squares: Square = Field(description="Sum of the squares of all persons' amounts.", examples=[6759025.5])


class MeanVariantCounts(AmountCounts):
    covariate_sum: Omittable[Amount] = Field(
        default=None,
        description="Sum of a covariate: each person's amount from before they were exposed, 0 if there is none. "
        "With it the mean is adjusted (CUPED); send all three sums for all variants.",
        examples=[10678.43],
    )
    covariate_sum_squares: Omittable[Square] = Field(
        default=None, description="Sum of the covariate's squares.", examples=[405481.0443]
    )
    main_covariate_sum_product: Omittable[Amount] = Field(
        default=None, description="Sum of the products of amount and covariate.", examples=[193410.1949]
    )

    @model_validator(mode="after")
    def require_whole_covariate(self) -> Self:
        self._require_all(_COVARIATE)
        return self


class RatioVariantCounts(AmountCounts):
    denominator_sum: Amount = Field(description="Sum of the denominators.", examples=[52000])
    denominator_sum_squares: Square = Field(description="Sum of their squares.", examples=[310000])
    numerator_denominator_sum_product: Amount = Field(
        description="Sum of the products of numerator and denominator.", examples=[99000.5]
    )
    covariate_sum: Omittable[Amount] = Field(
        default=None,
        description="Sum of the numerators of the same ratio from before each person was exposed, 0 if there are none. "
        "With it the ratio is adjusted (CUPED); send all nine sums for all variants.",
        examples=[10678.43],
    )
    covariate_sum_squares: Omittable[Square] = Field(default=None, description="Sum of their squares.")
    covariate_denominator_sum: Omittable[Amount] = Field(
        default=None, description="Sum of the denominators from before the exposure.", examples=[51000]
    )
    covariate_denominator_sum_squares: Omittable[Square] = Field(default=None, description="Sum of their squares.")
    covariate_numerator_denominator_sum_product: Omittable[Amount] = Field(
        default=None, description="Sum of the products of numerator and denominator from before the exposure."
    )
    main_covariate_sum_product: Omittable[Amount] = Field(
        default=None, description="Sum of the products of the numerator and that from before the exposure."
    )
    main_covariate_denominator_sum_product: Omittable[Amount] = Field(
        default=None, description="Sum of the products of the numerator and the denominator from before the exposure."
    )
    denominator_covariate_sum_product: Omittable[Amount] = Field(
        default=None, description="Sum of the products of the denominator and the numerator from before the exposure."
    )
    denominator_covariate_denominator_sum_product: Omittable[Amount] = Field(
        default=None, description="Sum of the products of the denominator and that from before the exposure."
    )

    @model_validator(mode="after")
    def require_whole_covariate(self) -> Self:
        self._require_all(COVARIATE_OF_RATIO)
        return self


class QuantileVariantCounts(VariantCounts):
    key: Text = Field(description="The variant.", examples=["test"])
    number_of_samples: Count = Field(description="Persons.", examples=[45489])
    number_of_values: Omittable[Count] = Field(
        default=None,
        description="The values whose quantile it is: those of events or of persons. If unset, of persons.",
    )
    value: Amount | None = Field(default=None, description="The quantile; null without values.", examples=[134])
    lower: Amount | None = Field(
        default=None,
        description="The lower order statistic: with n values in ascending order and the quantile q, the one at the "
        "place floor(q n - z sqrt(q (1 - q) n)) + 1, counted from 1, where z is that of the confidence level. "
        "Of clustered values, take n times the cluster factor below the root. Null with too few values.",
        examples=[130],
    )
    upper: Amount | None = Field(
        default=None,
        description="The upper order statistic: the one at the place ceil(q n + z sqrt(q (1 - q) n)).",
        examples=[137],
    )


class AnalyzeBody(StrictBody):
    stats_config: StatsConfig = StatsConfig()
    expected_split: Omittable[dict[str, Weight]] = Field(
        default=None,
        max_length=MOST_VARIANTS,
        description="Planned weights of the variants, on any scale: the samples are tested against them.",
        examples=[{"control": 50, "test": 50}],
    )


class FunnelAnalyze(AnalyzeBody):
    """Persons who converted, and persons who did not."""

    metric_type: Literal["funnel"]
    variants: list[FunnelVariantCounts] = Field(min_length=2, max_length=MOST_VARIANTS)


class CountAnalyze(AnalyzeBody):
    """Events that happen independently of each other. For events that come in bursts use the mean per person."""

    metric_type: Literal["count"]
    variants: list[CountVariantCounts] = Field(min_length=2, max_length=MOST_VARIANTS)


class MeanAnalyze(AnalyzeBody):
    """An amount per person, such as revenue. A covariate from before the exposure narrows the intervals (CUPED)."""

    metric_type: Literal["mean"]
    variants: list[MeanVariantCounts] = Field(min_length=2, max_length=MOST_VARIANTS)


class RatioAnalyze(AnalyzeBody):
    """One amount divided by another, both per person, such as revenue per order; see `mean` for covariates."""

    metric_type: Literal["ratio"]
    variants: list[RatioVariantCounts] = Field(min_length=2, max_length=MOST_VARIANTS)


class QuantileAnalyze(AnalyzeBody):
    """A quantile, such as the median or the slowest tenth, between order statistics of the confidence level."""

    metric_type: Literal["quantile"]
    variants: list[QuantileVariantCounts] = Field(min_length=2, max_length=MOST_VARIANTS)


AnyAnalyze: TypeAlias = FunnelAnalyze | CountAnalyze | MeanAnalyze | RatioAnalyze | QuantileAnalyze


class AnalyzeRequest(RootModel[Annotated[AnyAnalyze, Field(discriminator="metric_type")]]):
    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [FUNNEL_EXAMPLE]})


Ends: TypeAlias = tuple[float, float]


class SequentialRead(ResponseBody):
    enabled: bool
    tuning_parameter: float


class StatsConfigRead(ResponseBody):
    """The configuration as it took effect."""

    method: Method
    confidence_level: float
    sequential: SequentialRead
    baseline_variant_key: str
    multiple_testing: Correction = Field(
        description="Unless it was given, `holm` where several variants are compared with the baseline, else `none`."
    )


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
        description="Probability that the variant has the highest mean, whatever the goal."
    )
    chance_to_win: float | None = Field(
        description="Probability that its mean is above the baseline's, whatever the goal."
    )
    expected_loss: float | None = Field(
        description="Expected loss if it is chosen and another mean is higher, whatever the goal."
    )
    expected_loss_vs_baseline: float | None = Field(
        description="Expected loss if it is chosen and that of the baseline is higher, whatever the goal."
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
    leader: str | None = Field(
        description="The variant that is most probably the best, which may be the baseline. Where "
        "the goal is to decrease, the variant with the lowest mean."
    )
    conclusion: str = Field(description="The result in words.")
    variants: list[VariantAnalysisRead] = Field(description="In the order they were sent.")
    sample_ratio_mismatch: SampleRatioRead | None = Field(description="Null without `expected_split`.")


PowerMethod: TypeAlias = Literal["verdict", "two_sample", "posthog_2022"]
PlanRule: TypeAlias = Rule | Literal["posthog_2022"]


class PowerRequest(StrictBody):
    """Send one of `minimum_detectable_effect`, `sample_size` and `running_time`; the others are computed."""

    model_config = ConfigDict(json_schema_extra={"examples": [POWER_EXAMPLE]})

    metric_type: PlannedMetricType
    baseline: Amount = Field(description="Conversion rate (0 to 1), events per exposure, or mean.")
    variance: Omittable[Square] = Field(default=None, description="Variance of one sample, for a mean.")
    minimum_detectable_effect: Omittable[Amount] = Field(
        default=None, description="Smallest change worth detecting, in the baseline's unit, or as a share of it."
    )
    relative: Boolean = Field(default=False, description="Whether the effect is a share of the baseline: 0.05 is 5 %.")
    sample_size: Omittable[Quantity] = Field(default=None, description="Samples of all variants together.")
    running_time: Omittable[Quantity] = Field(default=None, description="In days; requires `exposures_per_day`.")
    exposures_per_day: Omittable[Quantity] = Field(
        default=None, description="New samples per day, of all variants together."
    )
    alpha: Omittable[ErrorRate] = Field(
        default=None, description="Probability of a false positive, two-sided; if unset, 1 minus the confidence level."
    )
    power: Power = Field(default=0.8, description="Probability of detecting an effect of that size.")
    variants: GroupCount = Field(default=2, description="Groups of equal size, the baseline included.")
    stats_config: StatsConfig = Field(
        default=StatsConfig(),
        description="How the experiment will be analyzed, as in `analyze`: the plan is for the rule that decides then.",
    )
    method: PowerMethod = Field(
        default="verdict",
        description="`verdict`: the rule behind `significant`. `two_sample`: the formula of common calculators. "
        "`posthog_2022`: the rules of thumb of the 2022 frontend, which ignore alpha and power.",
    )


class SingleLookRead(ResponseBody):
    """The plan of the same experiment if it were looked at once, at its end, without the anytime-valid rule."""

    rule: Rule
    formula: str
    minimum_detectable_effect: float | None
    minimum_detectable_effect_relative: float | None
    sample_size_per_variant: float
    recommended_sample_size: float
    recommended_running_time: float | None


class PowerRead(ResponseBody):
    model_config = ConfigDict(json_schema_extra={"examples": [PLAN_EXAMPLE]})

    metric_type: PlannedMetricType
    method: PowerMethod
    rule: PlanRule = Field(description="The rule that the plan is for.")
    alpha: float
    power: float
    comparisons: int = Field(description="Comparisons that are corrected for; 1 without a correction.")
    formula: str = Field(
        description="The formula that was used, for one group of size n: d is the difference, z_a and z_b are normal "
        "quantiles of alpha / (2 c) and power, c is `comparisons`."
    )
    assumption: str = Field(description="What the plan rests on, in words.")
    minimum_detectable_effect: float | None = Field(
        description="In the baseline's unit; null if not even the largest possible effect would be detected."
    )
    minimum_detectable_effect_relative: float | None = Field(description="As a share of the baseline.")
    sample_size_per_variant: float | None
    recommended_sample_size: float | None = Field(
        description="Of all variants together; null where the rule of 2022 gives days only."
    )
    recommended_running_time: float | None = Field(description="Days; null without `exposures_per_day`.")
    single_look: SingleLookRead | None = Field(
        description="The plan for a single look, beside that for the anytime-valid rule; null for all others."
    )
