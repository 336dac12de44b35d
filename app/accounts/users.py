"""The short form of a user, which other objects embed."""

from uuid import UUID

from pydantic import Field

from app.http.schemas import ResponseBody


class UserBasic(ResponseBody):
    """The short form of a user, as the objects that they created show it."""

    id: int = Field(examples=[1])
    uuid: UUID = Field(examples=["0184305c-6f00-4000-8000-000000000003"])
    distinct_id: str = Field(
        description="The distinct id of the user in events about them.", examples=["5b0c7e9a41d84f0e9a63d2f1c8b7a604"]
    )
    first_name: str = Field(examples=["Ann"])
    email: str = Field(examples=["ann@example.com"])
