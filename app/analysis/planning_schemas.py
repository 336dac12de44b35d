"""Request and response bodies of planning."""

from typing import Literal, TypeAlias

from pydantic import ConfigDict, Field

from app.analysis.config_schemas import StatsConfig
from app.analysis.examples import PLAN_EXAMPLE, POWER_EXAMPLE
from app.analysis.quantities import Amount, ErrorRate, GroupCount, Power, Quantity, Square
from app.http.fields import Boolean, Omittable
from app.http.schemas import ResponseBody, StrictBody
from app.statistics.frequentist.power import Rule

PlannedMetricType: TypeAlias = Literal["funnel", "count", "mean"]
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
