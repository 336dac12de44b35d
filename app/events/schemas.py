"""Events as clients read them."""

from uuid import UUID

from pydantic import Field, JsonValue

from app.http.fields import UtcDatetime
from app.http.schemas import ResponseBody


class EventPerson(ResponseBody):
    """The current person of an event."""

    uuid: UUID = Field(examples=["0184305c-6f00-4000-8000-000000000005"])
    distinct_ids: list[str] = Field(description="The distinct id of the event.", examples=[["ann"]])
    properties: dict[str, JsonValue] = Field(
        description="The person's current properties.", examples=[{"email": "ann@example.com", "country": "NL"}]
    )
    is_identified: bool = Field(description="Whether a client has identified the person.", examples=[True])
    created_at: UtcDatetime


class EventRead(ResponseBody):
    id: UUID = Field(examples=["0184305c-6f00-4000-8000-000000000004"])
    distinct_id: str = Field(examples=["ann"])
    event: str = Field(examples=["purchase"])
    timestamp: UtcDatetime
    properties: dict[str, JsonValue] = Field(examples=[{"$feature/checkout": "test", "amount": 12.5}])
    person: EventPerson | None = Field(description="The current person of the event.")


class EventPage(ResponseBody):
    """One page of events, newest first."""

    next: str | None = Field(description="The address of the next, older page.", examples=[None])
    results: list[EventRead]
