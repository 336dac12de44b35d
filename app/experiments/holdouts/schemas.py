"""Bodies of holdouts."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from app.accounts.users import UserBasic
from app.http.fields import Omittable, OptionalLongText, OptionalText, Text, UtcDatetime, refusal
from app.http.schemas import ResponseBody, StrictBody

_EXAMPLE: JsonValue = {
    "name": "Nothing new in 2026",
    "description": "Persons who see no experiment of the year",
    "filters": [{"properties": [], "rollout_percentage": 10}],
}
_READ_EXAMPLE: JsonValue = {"properties": [], "rollout_percentage": 10, "variant": "holdout-1"}


class HoldoutFilter(StrictBody):
    """The persons who are held out."""

    properties: list[JsonValue] = Field(
        default=[], description="Empty: SDKs hold out by a percentage of identifiers alone."
    )
    rollout_percentage: Annotated[float, Field(ge=0, le=100, strict=True)] = Field(
        description="The share of persons who are held out, in percent.", examples=[10]
    )
    variant: OptionalText = Field(
        default=None, description="Always `holdout-<id>`, whatever is sent.", examples=["holdout-1"]
    )

    @model_validator(mode="after")
    def _refuse_conditions(self) -> Self:
        if self.properties:
            raise refusal("A holdout cannot have conditions: the evaluators in SDKs hold out by a percentage alone.")
        return self


HoldoutFilters = Annotated[
    list[HoldoutFilter],
    Field(
        min_length=1,
        max_length=1,
        description="One object: all experiments of the holdout keep the same persons out.",
        examples=[[_READ_EXAMPLE]],
    ),
]


class HoldoutCreate(StrictBody):
    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: Text = Field(examples=["Nothing new in 2026"])
    description: OptionalLongText = None
    filters: HoldoutFilters


class HoldoutUpdate(StrictBody):
    """A partial update: only fields that were sent are applied."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Nothing new"}]})

    name: Omittable[Text] = None
    description: OptionalLongText = None
    filters: Omittable[HoldoutFilters] = None


class HoldoutRead(ResponseBody):
    id: int = Field(examples=[1])
    name: str = Field(examples=["Nothing new in 2026"])
    description: str | None = Field(examples=[None])
    filters: list[dict[str, JsonValue]] = Field(examples=[[_READ_EXAMPLE]])
    created_by: UserBasic | None
    created_at: UtcDatetime
    updated_at: UtcDatetime
