"""The bodies of definitions, in the shapes of 2022."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from app.events.definitions.names import PropertyType
from app.http.fields import UtcDatetime
from app.http.schemas import ResponseBody

EXAMPLE_ID = "01863799-062b-0000-8a61-b2842d5f8642"
_OF_ACTIONS = "Kept for clients of 2022."


class EventDefinitionRead(ResponseBody):
    id: UUID = Field(examples=[EXAMPLE_ID])
    name: str = Field(examples=["$pageview"])
    volume_30_day: int = Field(description="Events of the name in the last 30 days, today included.", examples=[1200])
    query_usage_30_day: None = Field(description=_OF_ACTIONS)
    created_at: UtcDatetime = Field(description="When the name was first looked at.")
    last_seen_at: UtcDatetime = Field(description="When the latest of its events happened.")
    last_updated_at: UtcDatetime = Field(description=_OF_ACTIONS)
    tags: list[str] = Field(description=_OF_ACTIONS, examples=[[]])
    is_action: Literal[False] = Field(description=_OF_ACTIONS)
    action_id: None = Field(description=_OF_ACTIONS)
    is_calculating: Literal[False] = Field(description=_OF_ACTIONS)
    last_calculated_at: None = Field(description=_OF_ACTIONS)
    created_by: None = Field(description=_OF_ACTIONS)
    post_to_slack: Literal[False] = Field(description=_OF_ACTIONS)


class PropertyDefinitionRead(ResponseBody):
    id: UUID = Field(examples=[EXAMPLE_ID])
    name: str = Field(examples=["amount"])
    is_numerical: bool = Field(description="Whether it can be summed: its first value was a number.", examples=[True])
    query_usage_30_day: None = Field(description=_OF_ACTIONS)
    property_type: PropertyType | None = Field(
        description="What its first value was; null for lists and objects.", examples=["Numeric"]
    )
    tags: list[str] = Field(description=_OF_ACTIONS, examples=[[]])
    is_seen_on_filtered_events: bool | None = Field(
        description="With `event_names`: whether one of those events had it.", examples=[None]
    )
