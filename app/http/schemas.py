"""Bodies that every feature shares."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")


class RequestBody(BaseModel):
    """What a client sends. Fields that are not named are ignored, as in the 2022 API."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ResponseBody(BaseModel):
    """What a client gets: every documented field, always."""

    model_config = ConfigDict(from_attributes=True)


class Page(ResponseBody, Generic[Item]):
    """One page of a list."""

    count: int = Field(description="How many there are in all.", examples=[1])
    next: str | None = Field(description="Address of the next page.", examples=[None])
    previous: str | None = Field(description="Address of the previous page.", examples=[None])
    results: list[Item]


class ErrorBody(ResponseBody):
    """Every error has this body."""

    type: str = Field(examples=["validation_error"])
    code: str = Field(examples=["required"])
    detail: str = Field(description="A sentence for people.", examples=["This field is required."])
    attr: str | None = Field(description="The field that is wrong, where one is.", examples=["name"])
