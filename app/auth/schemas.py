"""Bodies of personal API keys."""

from typing import Annotated

from pydantic import Field

from app.schemas import RequestBody, ResponseBody
from app.types import LongText, UtcDatetime, max_characters

MAX_LABEL_CHARACTERS = 40


class PersonalApiKeyCreate(RequestBody):
    label: Annotated[
        LongText,
        max_characters(MAX_LABEL_CHARACTERS),
        Field(
            description="What the key is for.",
            examples=["Dashboard"],
            json_schema_extra={"maxLength": MAX_LABEL_CHARACTERS},
        ),
    ]


class PersonalApiKeyRead(ResponseBody):
    """A key as it is listed: without its value, which is not stored."""

    id: str = Field(examples=["3"])
    label: str = Field(examples=["Dashboard"])
    created_at: UtcDatetime
    last_used_at: UtcDatetime | None = Field(description="When it was last used, give or take an hour.")
    user_id: int = Field(description="Whose key it is.", examples=[1])


class PersonalApiKeyCreated(ResponseBody):
    """A key as it is shown once, with its value."""

    id: str = Field(examples=["3"])
    label: str = Field(examples=["Dashboard"])
    value: str = Field(description="The key itself. It is not shown again.", examples=["phx_3xAmPl3"])
    created_at: UtcDatetime
    last_used_at: UtcDatetime | None = Field(examples=[None])
    user_id: int = Field(description="Whose key it is.", examples=[1])
