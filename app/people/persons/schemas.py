"""Persons as clients read them."""

from uuid import UUID

from pydantic import Field, JsonValue

from app.http.fields import UtcDatetime
from app.http.schemas import ResponseBody


class PersonRead(ResponseBody):
    id: int = Field(examples=[1])
    uuid: UUID
    distinct_ids: list[str] = Field(description="All distinct ids of the person.", examples=[["ann", "device-7"]])
    properties: dict[str, JsonValue] = Field(examples=[{"email": "ann@example.com"}])
    is_identified: bool = Field(description="Whether a client has identified the person.")
    created_at: UtcDatetime


class PersonPage(ResponseBody):
    """One page of persons, newest first."""

    next: str | None = Field(examples=[None])
    previous: str | None = Field(examples=[None])
    results: list[PersonRead]
