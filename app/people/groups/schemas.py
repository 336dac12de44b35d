"""Groups as clients read them."""

from pydantic import Field, JsonValue

from app.http.fields import UtcDatetime
from app.http.schemas import ResponseBody


class GroupTypeRead(ResponseBody):
    group_type: str = Field(description="The name that clients send.", examples=["organization"])
    group_type_index: int = Field(
        description="Its position in the order of the types' first events, 0 to 4.", examples=[0]
    )
    name_singular: str | None = Field(description="Always null: display names cannot be set.", examples=[None])
    name_plural: str | None = Field(description="Always null.", examples=[None])


class GroupRead(ResponseBody):
    group_type_index: int = Field(examples=[0])
    group_key: str = Field(examples=["acme"])
    group_properties: dict[str, JsonValue] = Field(examples=[{"plan": "enterprise"}])
    created_at: UtcDatetime


class GroupPage(ResponseBody):
    """One page of groups, newest first."""

    next: str | None = Field(examples=[None])
    previous: str | None = Field(examples=[None])
    results: list[GroupRead]
