"""The bodies of insights, in the shapes of 2022."""

from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from app.http.fields import Json, UtcDatetime
from app.http.schemas import RequestBody, ResponseBody

_PURCHASES: JsonValue = [{"id": "purchase", "type": "events", "order": 0}]
_STEPS: JsonValue = [
    {"id": "$pageview", "type": "events", "order": 0},
    {"id": "purchase", "type": "events", "order": 1},
]


class InsightBody(RequestBody):
    """What is counted: the fields of the query string, as JSON."""

    insight: Json = Field(default=None, description="If it is given, the insight that the endpoint answers.")
    events: Json = Field(default=None, description="Events: series or steps, as in metrics.")
    actions: Json = Field(default=None, description="Actions: series or steps, as in metrics.")
    properties: Json = Field(default=None, description="Conditions that all events have to meet, as in metrics.")
    filter_test_accounts: Json = Field(default=None, description="Whether test accounts are left out.")
    date_from: Json = Field(default=None, description="`-7d` unless it is given; `all`: from the first event on.")
    date_to: Json = Field(default=None, description="Now unless it is given.")
    interval: Json = Field(default=None, description="`hour`, `day`, `week` or `month`.")
    display: Json = Field(default=None, description="`ActionsLineGraphCumulative` for running totals.")
    breakdown: Json = Field(default=None, description="A property to break down by.")
    breakdown_type: Json = Field(default=None, description="Whose property: `event`, the default, or `person`.")
    breakdown_limit: Json = Field(default=None, description="The number of values, 25 unless it is given.")
    refresh: Json = Field(default=None, description="No effect: answers are always as of now.")
    formula: Json = Field(default=None, description="Not supported.")
    compare: Json = Field(default=None, description="Not supported.")
    breakdowns: Json = Field(default=None, description="Not supported.")
    breakdown_normalize_url: Json = Field(default=None, description="Not supported.")
    breakdown_histogram_bin_count: Json = Field(default=None, description="Not supported.")
    shown_as: Json = Field(default=None, description="Only `Volume`.")
    smoothing_intervals: Json = Field(default=None, description="Only 1.")
    sampling_factor: Json = Field(default=None, description="Only 1.")
    aggregation_group_type_index: Json = Field(default=None, description="Count groups of this type in a funnel.")


class TrendInsightBody(InsightBody):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"events": _PURCHASES, "date_from": "-30d", "interval": "week"}]}
    )


class FunnelInsightBody(InsightBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"events": _STEPS, "date_from": "-30d"}]})

    exclusions: Json = Field(default=None, description="Events that end an attempt, as in metrics.")
    funnel_order_type: Json = Field(default=None, description="`ordered`, `strict` or `unordered`.")
    funnel_window_days: Json = Field(default=None, description="The conversion window in days.")
    funnel_window_interval: Json = Field(default=None, description="The conversion window, 14 unless it is given.")
    funnel_window_interval_unit: Json = Field(default=None, description="`minute`, `hour`, `day`, `week` or `month`.")
    funnel_viz_type: Json = Field(default=None, description="Only `steps`.")
    breakdown_attribution_type: Json = Field(
        default=None, description="`first_touch`, `last_touch`, `all_events` or `step`."
    )
    breakdown_attribution_value: Json = Field(default=None, description="The step, from 0, for attribution by step.")


class InsightRead(ResponseBody):
    timezone: str = Field(description="The project's: days and dates are by its clock.", examples=["UTC"])
    last_refresh: UtcDatetime = Field(description="When it was counted.")
    is_cached: Literal[False] = Field(description="Kept for clients of 2022.")


class TrendSeriesInsightRead(ResponseBody):
    action: dict[str, JsonValue] = Field(
        description="The event or action that is counted.", examples=[{"id": "purchase", "type": "events", "order": 0}]
    )
    label: str = Field(description="Its name, with the value of the breakdown.", examples=["purchase"])
    count: float = Field(description="The sum over the intervals.", examples=[7.0])
    data: list[float] = Field(description="The figure of each interval, or the running total.", examples=[[3.0, 4.0]])
    labels: list[str] = Field(
        description="Labels of the intervals for display.", examples=[["1-Nov-2022", "2-Nov-2022"]]
    )
    days: list[str] = Field(description="When the intervals start.", examples=[["2022-11-01", "2022-11-02"]])
    breakdown_value: str = Field(
        default="", description="Only with a breakdown: the value; empty for events without one.", examples=["pro"]
    )
    persons_urls: list[JsonValue] = Field(description="Always empty.", examples=[[]])
    filter: dict[str, JsonValue] = Field(
        description="What was counted.", examples=[{"insight": "TRENDS", "interval": "day"}]
    )


class TrendInsightRead(InsightRead):
    result: list[TrendSeriesInsightRead] = Field(
        description="The series in their order, each broken down into its most frequent values, largest first."
    )
    next: None = Field(description="Always null.")


class FunnelStepInsightRead(ResponseBody):
    action_id: str | int | None = Field(
        description="The event's name or the action's id; null in an unordered funnel.", examples=["purchase"]
    )
    name: str = Field(examples=["purchase"])
    custom_name: str | None = Field(description="The name that the step was given, if any.", examples=[None])
    order: int = Field(description="Its position in the funnel, from 0.", examples=[1])
    people: list[JsonValue] = Field(description="Always empty.", examples=[[]])
    count: int = Field(description="Persons, or groups, that reached this step.", examples=[100])
    type: Literal["events", "actions"] = Field(description="Whether `action_id` is an event's name or an action's id.")
    average_conversion_time: float | None = Field(
        description="Average seconds from the step before; null for the first step, and where no one reached it.",
        examples=[3600.0],
    )
    median_conversion_time: float | None = Field(
        description="Median seconds from the step before; null likewise.", examples=[1800.0]
    )
    breakdown: str | list[str] = Field(
        default="",
        description="Only with a breakdown: the value, `Other` for all others together, empty for persons without one.",
        examples=["pro"],
    )
    breakdown_value: str | list[str] = Field(default="", description="The same again.", examples=["pro"])
    converted_people_url: None = Field(description="Always null.")
    dropped_people_url: None = Field(description="Always null.")


class FunnelInsightRead(InsightRead):
    result: list[FunnelStepInsightRead] | list[list[FunnelStepInsightRead]] = Field(
        description="The steps; with a breakdown a list of steps for each value."
    )
