"""The bodies of results, as they truly were in 2022, with credible intervals added."""

from typing import Literal

from pydantic import Field, JsonValue

from app.schemas import ResponseBody

_PROBABILITY = "Probability that the variant is the best of all. Exact: the same counts give the same digits."
_SIGNIFICANT = "Whether `significance_code` is `significant`."
_CODE = (
    "`not_enough_exposure`: a variant has fewer than 100. `low_win_probability`: neither control nor the tests "
    "together reach 0.9. `high_loss` / `high_p_value`: the last check failed. `significant`: all passed."
)
_INTERVAL = "95 % equal-tailed credible interval of each variant's rate: it holds it so probably."
_FILTERS = "The metric as it took effect, its window in the project's time zone."


class FunnelStepRead(ResponseBody):
    action_id: str | int | None = Field(
        description="The event's name or the action's id; null in an unordered funnel.", examples=["purchase"]
    )
    name: str = Field(examples=["purchase"])
    custom_name: str | None
    order: int
    people: list[JsonValue]
    count: int = Field(description="Persons that reached this step.", examples=[100])
    type: Literal["events", "actions"]
    average_conversion_time: float | None = Field(description="Seconds from the step before; null for the first step.")
    median_conversion_time: float | None
    breakdown: list[str] = Field(examples=[["test"]])
    breakdown_value: list[str] = Field(examples=[["test"]])
    converted_people_url: str | None
    dropped_people_url: str | None


class FunnelVariantRead(ResponseBody):
    key: str = Field(examples=["test"])
    success_count: int = Field(description="Persons that reached the last step.", examples=[150])
    failure_count: int = Field(description="Persons that entered and did not.", examples=[850])


class FunnelResultsRead(ResponseBody):
    insight: list[list[FunnelStepRead]] = Field(description="One funnel for each variant that has persons.")
    probability: dict[str, float] = Field(description=_PROBABILITY, examples=[{"control": 0.000366, "test": 0.999634}])
    significant: bool = Field(description=_SIGNIFICANT)
    filters: dict[str, JsonValue] = Field(description=_FILTERS)
    significance_code: str = Field(description=_CODE, examples=["significant"])
    expected_loss: float = Field(
        description="Mean conversion rate lost by choosing the best test variant, should control be better."
    )
    variants: list[FunnelVariantRead]
    credible_intervals: dict[str, tuple[float, float]] = Field(description=_INTERVAL)


class TrendSeriesRead(ResponseBody):
    action: dict[str, JsonValue]
    label: str = Field(examples=["$pageview - test"])
    count: float = Field(description="The total.", examples=[380.0])
    data: list[float] = Field(description="Running total for each interval.")
    labels: list[str] = Field(examples=[["1-Nov-2022"]])
    days: list[str] = Field(examples=[["2022-11-01"]])
    breakdown_value: str = Field(examples=["test"])
    persons_urls: list[JsonValue]
    filter: dict[str, JsonValue]


class TrendVariantRead(ResponseBody):
    key: str = Field(examples=["test"])
    count: int = Field(description="The metric's total.", examples=[380])
    exposure: float = Field(description="Exposed persons, as a ratio to control's.", examples=[1.01])
    absolute_exposure: float = Field(description="Exposed persons; 1 if none was reported.", examples=[1010.0])


class TrendResultsRead(ResponseBody):
    insight: list[TrendSeriesRead] = Field(description="One series for each variant with events, largest first.")
    probability: dict[str, float] = Field(description=_PROBABILITY, examples=[{"control": 0.00148, "test": 0.99852}])
    significant: bool = Field(description=_SIGNIFICANT)
    filters: dict[str, JsonValue] = Field(description=_FILTERS)
    significance_code: str = Field(description=_CODE, examples=["significant"])
    p_value: float = Field(
        description="Two-sided exact comparison of the best test variant's count with control's; 1 if not reached."
    )
    variants: list[TrendVariantRead]
    credible_intervals: dict[str, tuple[float, float]] = Field(description=_INTERVAL)


class SecondaryResultsRead(ResponseBody):
    result: dict[str, float] = Field(
        description="Per variant: a trend's total, or a funnel's conversion rate to three decimals.",
        examples=[{"control": 0.1, "test": 0.15}],
    )


class FlagImplementationRead(ResponseBody):
    result: bool = Field(description="True is a warning: no event of the last seven days names a variant.")
