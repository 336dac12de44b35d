"""The bodies of persons."""

from uuid import UUID

from pydantic import Field, JsonValue

from app.http.fields import Json, JsonObject, OptionalText, Text, UtcDatetime
from app.http.schemas import RequestBody, ResponseBody


class PersonRead(ResponseBody):
    id: int = Field(examples=[1])
    uuid: UUID
    name: str = Field(
        description="The first of the properties `email`, `Email`, `name`, `Name`, `username`, `Username`, `UserName` "
        "that the person has; else a distinct id.",
        examples=["ann@example.com"],
    )
    distinct_ids: list[str] = Field(
        description="All distinct ids of the person; those that a device made up come last.",
        examples=[["ann", "device-7"]],
    )
    properties: dict[str, JsonValue] = Field(examples=[{"email": "ann@example.com"}])
    is_identified: bool = Field(description="Whether a client has identified the person.")
    created_at: UtcDatetime


class PersonPage(ResponseBody):
    """One page of persons, newest first."""

    next: str | None = Field(examples=[None])
    previous: str | None = Field(examples=[None])
    results: list[PersonRead]


class PersonUpdate(RequestBody):
    properties: JsonObject = Field(
        description="Properties to set. Others stay as they are.", examples=[{"plan": "team"}]
    )


class PropertyUpdate(RequestBody):
    key: Text = Field(examples=["plan"])
    value: Json = Field(examples=["team"])


class PropertyDeletion(RequestBody):
    unset: Text = Field(alias="$unset", description="The property to remove.", examples=["plan"])


class PersonSplit(RequestBody):
    main_distinct_id: OptionalText = Field(
        default=None,
        description="The distinct id that stays with the person and the properties. Without it the first one stays, "
        "and the properties go, as in 2022.",
        examples=["ann"],
    )


class Success(ResponseBody):
    success: bool = Field(examples=[True])
