"""Events as clients read them."""

from uuid import UUID

from pydantic import Field, JsonValue

from app.schemas import ResponseBody
from app.types import UtcDatetime


class EventPerson(ResponseBody):
    """The person an event belongs to today."""

    uuid: UUID
    distinct_ids: list[str] = Field(description="The distinct id of the event.", examples=[["ann"]])
    properties: dict[str, JsonValue]
    is_identified: bool
    created_at: UtcDatetime


class EventRead(ResponseBody):
    id: UUID
    distinct_id: str = Field(examples=["ann"])
    event: str = Field(examples=["purchase"])
    timestamp: UtcDatetime
    properties: dict[str, JsonValue] = Field(examples=[{"$feature/checkout": "test", "amount": 12.5}])
    person: EventPerson | None


class EventPage(ResponseBody):
    """One page of events, newest first."""

    next: str | None = Field(description="Address of the next, older page.", examples=[None])
    results: list[EventRead]
