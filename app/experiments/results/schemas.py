"""The bodies of results as they were in 2022, with credible intervals added."""

from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from app.experiments.results.examples import FUNNEL_RESULTS_EXAMPLE, TREND_RESULTS_EXAMPLE
from app.http.schemas import ResponseBody

_PROBABILITY = (
    "Probability that the variant has the highest rate of all, whatever the `goal`. Exact: the same counts give the "
    "same digits."
)
_PROBABILITY_OF_TREND = f"{_PROBABILITY} The same for all variants where the code is `not_comparable`."
_SIGNIFICANT = "Whether `significance_code` is `significant`."
_CODE = (
    "`not_enough_exposure`: a variant has fewer than 100. `low_win_probability`: neither control nor the tests "
    "together reach 0.9. `high_loss` / `high_p_value`: the last check failed. `significant`: all passed."
)
_INTERVAL = "95 % equal-tailed credible interval of each variant's rate."
_FILTERS = "The effective filters of the metric; dates are in the project's time zone."


class FunnelStepRead(ResponseBody):
    action_id: str | int | None = Field(
        description="The event's name or the action's id; null in an unordered funnel.", examples=["purchase"]
    )
    name: str = Field(examples=["purchase"])
    custom_name: str | None = Field(description="The name that the metric gives the step, if any.")
    order: int = Field(description="Its position in the funnel, from 0.")
    people: list[JsonValue] = Field(description="Always empty.")
    count: int = Field(description="Persons, or groups, that reached this step.", examples=[100])
    type: Literal["events", "actions"] = Field(description="Whether `action_id` is an event's name or an action's id.")
    average_conversion_time: float | None = Field(
        description="Average seconds from the step before, of those who reached this step; null for the first step, "
        "and where it has none."
    )
    median_conversion_time: float | None = Field(
        description="Median seconds from the step before, of those who reached this step; null likewise."
    )
    breakdown: list[str] = Field(description="The variant.", examples=[["test"]])
    breakdown_value: list[str] = Field(description="The variant again.", examples=[["test"]])
    converted_people_url: None = Field(description="Always null.")
    dropped_people_url: None = Field(description="Always null.")


class FunnelVariantRead(ResponseBody):
    key: str = Field(description="The variant.", examples=["test"])
    success_count: int = Field(description="Persons that reached the last step.", examples=[150])
    failure_count: int = Field(description="Persons that entered and did not reach it.", examples=[850])


class FunnelResultsRead(ResponseBody):
    model_config = ConfigDict(json_schema_extra={"examples": [FUNNEL_RESULTS_EXAMPLE]})

    insight: list[list[FunnelStepRead]] = Field(description="One funnel for each variant that has persons.")
    probability: dict[str, float] = Field(description=_PROBABILITY)
    significant: bool = Field(description=_SIGNIFICANT)
    filters: dict[str, JsonValue] = Field(description=_FILTERS)
    significance_code: str = Field(description=_CODE)
    expected_loss: float = Field(
        description="Expected loss of conversion rate from choosing the best test variant, if control is better."
    )
    variants: list[FunnelVariantRead]
    credible_intervals: dict[str, tuple[float, float]] = Field(description=_INTERVAL)


class TrendSeriesRead(ResponseBody):
    action: dict[str, JsonValue] = Field(description="The event or action that is counted.")
    label: str = Field(description="Its name and the variant.", examples=["product added - test"])
    count: float = Field(description="The total.", examples=[380.0])
    data: list[float] = Field(description="Running total at the end of each interval; the last one is `count`.")
    labels: list[str] = Field(description="Labels of the intervals for display.", examples=[["1-Nov-2022"]])
    days: list[str] = Field(description="When the intervals start.", examples=[["2022-11-01"]])
    breakdown_value: str = Field(description="The variant.", examples=["test"])
    persons_urls: list[JsonValue] = Field(description="Always empty.")
    filter: dict[str, JsonValue] = Field(description="The same as the `filters` of the results.")


class TrendVariantRead(ResponseBody):
    key: str = Field(description="The variant.", examples=["test"])
    count: int = Field(description="The metric's total.", examples=[380])
    exposure: float = Field(
        description="Exposed persons, or groups where the flag assigns groups, as a ratio to control's.",
        examples=[1.01],
    )
    absolute_exposure: float = Field(description="Their number; 1 if none was reported.", examples=[1010.0])


class TrendResultsRead(ResponseBody):
    model_config = ConfigDict(json_schema_extra={"examples": [TREND_RESULTS_EXAMPLE]})

    insight: list[TrendSeriesRead] = Field(description="One series for each variant with events, largest first.")
    probability: dict[str, float] = Field(description=_PROBABILITY_OF_TREND)
    significant: bool = Field(description=_SIGNIFICANT)
    filters: dict[str, JsonValue] = Field(description=_FILTERS)
    significance_code: str = Field(
        description=f"{_CODE} `not_comparable`: the metric is an amount, such as a sum, an average or a maximum, and "
        "not a count of events or persons, so that there is no verdict: `analysis` compares it."
    )
    p_value: float = Field(
        description="Two-sided exact comparison of the best test variant's count with control's; 1 if an earlier check "
        "failed."
    )
    variants: list[TrendVariantRead]
    credible_intervals: dict[str, tuple[float, float]] = Field(
        description=f"{_INTERVAL} Empty where the code is `not_comparable`."
    )


class SecondaryResultsRead(ResponseBody):
    result: dict[str, float] = Field(
        description="Per variant: a trend's total, or a funnel's conversion rate to three decimals.",
        examples=[{"control": 100.0, "test": 150.0}],
    )


class FlagImplementationRead(ResponseBody):
    result: bool = Field(
        description="True is a warning: no event of the last seven days names a variant.", examples=[False]
    )
