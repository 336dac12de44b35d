"""Base classes of bodies, pages and errors."""

from collections.abc import Mapping
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.http.query_params import PERSONAL_API_KEY
from app.http.unknown_names import unknown_fields

Item = TypeVar("Item")


class RequestBody(BaseModel):
    """Base of request bodies. Unknown fields are ignored, as in the 2022 API, and reported."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    async def prepare(cls, document: object) -> None:
        """Do in slices of time what validation, which is not interrupted, would take long for.

        It is called with the body as it was sent, before validation; what it cannot read it leaves to validation.
        """


class StrictBody(RequestBody):
    """Base of bodies, and of objects in bodies, that are younger than 2022. Unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, document: object) -> object:
        if not isinstance(document, Mapping):
            return document
        known = cls.model_fields.keys()
        unknown = [name for name in document if name not in known and name != PERSONAL_API_KEY]
        if unknown:
            raise unknown_fields(unknown, known)
        return {name: value for name, value in document.items() if name != PERSONAL_API_KEY}


class ResponseBody(BaseModel):
    """Base of response bodies. Every documented field is always present."""

    model_config = ConfigDict(from_attributes=True)


class Page(ResponseBody, Generic[Item]):
    """One page of a list."""

    count: int = Field(description="Total number of results.", examples=[1])
    next: str | None = Field(description="URL of the next page.", examples=[None])
    previous: str | None = Field(description="URL of the previous page.", examples=[None])
    results: list[Item]


class ErrorBody(ResponseBody):
    """The body of every error."""

    type: str = Field(examples=["validation_error"])
    code: str = Field(examples=["required"])
    detail: str = Field(description="A human-readable explanation.", examples=["This field is required."])
    attr: str | None = Field(description="The invalid field, if there is one.", examples=["name"])
