"""Counts per variant to analyze, by what was measured."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import ConfigDict, Field, RootModel, model_validator
from pydantic_core import PydanticCustomError

from app.analysis.config_schemas import StatsConfig
from app.analysis.examples import FUNNEL_EXAMPLE
from app.analysis.quantities import COVARIATE_OF_RATIO, MOST_VARIANTS, Amount, Count, Quantity, Square, Weight
from app.http.fields import Omittable, Text
from app.http.schemas import StrictBody
from app.statistics.results import Goal

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
    goal: Goal = Field(default="increase", description="Whether more is better, or less.")
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
