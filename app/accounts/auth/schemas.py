"""Bodies of personal API keys."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from app.accounts.auth.scopes import EVERYTHING, SCOPES, find_unknown
from app.http.fields import IsList, LongText, Omittable, UtcDatetime, max_characters
from app.http.schemas import RequestBody, ResponseBody

MAX_LABEL_CHARACTERS = 40


def _refuse_unknown(scopes: list[str]) -> list[str]:
    if not scopes:
        raise PydanticCustomError("empty", "This list may not be empty.")
    unknown = find_unknown(scopes)
    if unknown is not None:
        raise PydanticCustomError("invalid_input", "Invalid scope: {scope}", {"scope": unknown[:100]})
    return list(dict.fromkeys(scopes))


Scopes = Annotated[
    list[LongText],
    IsList,
    AfterValidator(_refuse_unknown),
    Field(
        examples=[["experiment:read", "feature_flag:read"]],
        json_schema_extra={"minItems": 1, "items": {"enum": [EVERYTHING, *SCOPES]}},
    ),
]
ReadScopes = Annotated[list[str], Field(description="The scopes of the key; `*` means all.", examples=[["*"]])]


KeyLabel = Annotated[
    LongText,
    max_characters(MAX_LABEL_CHARACTERS),
    Field(
        description="A name for the key.",
        examples=["Dashboard"],
        json_schema_extra={"maxLength": MAX_LABEL_CHARACTERS},
    ),
]


class PersonalApiKeyCreate(RequestBody):
    label: KeyLabel
    scopes: Annotated[
        Omittable[Scopes],
        Field(
            description="The scopes of the key. `write` includes `read`, and `*` means all. By default, those of the"
            " key that the request was made with, which are also the most that can be granted."
        ),
    ] = None


class PersonalApiKeyRead(ResponseBody):
    """A key without its value, which is not stored."""

    id: str = Field(examples=["3"])
    label: str = Field(examples=["Dashboard"])
    created_at: UtcDatetime
    last_used_at: UtcDatetime | None = Field(description="When it was last used, accurate to an hour.")
    user_id: int = Field(description="The id of the user whom the key belongs to.", examples=[1])
    scopes: ReadScopes


class PersonalApiKeyCreated(ResponseBody):
    """A new key with its value, which is shown once."""

    id: str = Field(examples=["3"])
    label: str = Field(examples=["Dashboard"])
    value: str = Field(description="The secret value of the key. It is not shown again.", examples=["phx_3xAmPl3"])
    created_at: UtcDatetime
    last_used_at: UtcDatetime | None = Field(examples=[None])
    user_id: int = Field(description="The id of the user whom the key belongs to.", examples=[1])
    scopes: ReadScopes
