"""Actions as clients write and read them."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from app.accounts.users import UserBasic
from app.common import limits
from app.common.errors import ValidationFailed
from app.events.actions.matching import Matching, check_limits, check_pattern, check_properties, trees_in
from app.http.fields import (
    BlankableText,
    Boolean,
    IsList,
    NotNull,
    Omittable,
    OptionalLongText,
    OptionalText,
    StorableJson,
    Text,
    UtcDatetime,
    max_characters,
    parse_form_json,
    refusal,
)
from app.http.schemas import RequestBody, ResponseBody
from app.properties.filters import InvalidFilter
from app.properties.validation import compile_patterns

_MATCHINGS = ("contains", "regex", "exact")


def _read_matching(value: object) -> object:
    if value in (None, ""):
        return None
    if not isinstance(value, str) or value not in _MATCHINGS:
        shown = str(value)[:100]
        raise PydanticCustomError("invalid_choice", '"{value}" is not a valid choice.', {"value": shown})
    return value


def _check_properties(properties: JsonValue) -> JsonValue:
    if isinstance(properties, str):
        raise refusal("Properties are unparsable!")  # JSON text is accepted in queries, not in stored documents
    try:
        check_properties(properties)
    except InvalidFilter as error:
        raise refusal(error.detail, error.code) from error
    return [] if properties is None else properties


def _refuse_other_than_object(value: object) -> object:
    if not isinstance(value, dict):
        message = "Invalid data. Expected a dictionary, but got {kind}."
        raise PydanticCustomError("invalid_input", message, {"kind": type(value).__name__})
    return value


def _limit_steps(steps: object) -> object:
    try:
        check_limits(steps)
    except InvalidFilter as error:
        raise refusal(error.detail, error.code) from error
    return steps


_MatchingField = Annotated[
    Matching | None, BeforeValidator(_read_matching), WithJsonSchema({"enum": [*_MATCHINGS, None]})
]
_PROPERTIES_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "array", "items": {}},  # entries that are not properties are skipped
            {"type": "object", "additionalProperties": True},
            {"type": "null"},
        ]
    }
)
_PROPERTIES_EXAMPLE: list[JsonValue] = [{"key": "plan", "value": ["pro"], "operator": "exact", "type": "event"}]
_STEP_EXAMPLE: dict[str, JsonValue] = {
    "event": "$pageview",
    "url": "/checkout",
    "url_matching": "contains",
    "properties": _PROPERTIES_EXAMPLE,
}


class ActionStep(RequestBody):
    """One step: an event must meet all of its conditions."""

    # Each `..._matching` precedes its text, because the text is validated by it.
    id: OptionalText = Field(
        default=None, description="An identifier that the client chooses for the step.", examples=["1"]
    )
    event: OptionalText = Field(
        default=None, description="The event's name. A step without a name matches no event.", examples=["$pageview"]
    )
    tag_name: OptionalText = Field(default=None, description="`$autocapture` only.", examples=[None])
    text_matching: _MatchingField = Field(default=None, description="`exact` if unset.", examples=[None])
    text: OptionalLongText = Field(default=None, description="`$autocapture` only.", examples=[None])
    href_matching: _MatchingField = Field(default=None, description="`exact` if unset.", examples=[None])
    href: OptionalLongText = Field(default=None, description="`$autocapture` only.", examples=[None])
    selector: OptionalLongText = Field(
        default=None, description="A CSS selector; `$autocapture` only.", examples=[None]
    )
    url_matching: _MatchingField = Field(
        default="contains",
        description="`contains` is case-sensitive, with `%` for any text and `_` for any character; `regex` is RE2.",
        examples=["contains"],
    )
    url: OptionalText = Field(default=None, description="Compared with `$current_url`.", examples=["/checkout"])
    name: OptionalText = Field(default=None, examples=[None])
    properties: Annotated[JsonValue, AfterValidator(_check_properties), _PROPERTIES_SCHEMA] = Field(
        default=[],
        description="A property filter: a list of conditions, all of which must hold, or nested groups. A condition "
        "of the type `cohort` has the cohort's id as value, an integer or its digits as text.",
        examples=[_PROPERTIES_EXAMPLE],
    )

    @field_validator("text", "href", "url")
    @classmethod
    def _check_pattern(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get(f"{info.field_name}_matching") == "regex":
            try:
                check_pattern(value)
            except InvalidFilter as error:
                raise refusal(error.detail, error.code) from error
        return value

    @field_validator("url_matching")
    @classmethod
    def _fill_in(cls, value: Matching | None) -> Matching:
        return value or "contains"


class ActionStepRead(ResponseBody):
    id: str | None = Field(examples=[None])
    event: str | None = Field(examples=["$pageview"])
    tag_name: str | None = Field(examples=[None])
    text: str | None = Field(examples=[None])
    text_matching: Matching | None = Field(examples=[None])
    href: str | None = Field(examples=[None])
    href_matching: Matching | None = Field(examples=[None])
    selector: str | None = Field(examples=[None])
    url: str | None = Field(examples=["/checkout"])
    name: str | None = Field(examples=[None])
    url_matching: Matching = Field(examples=["contains"])
    properties: JsonValue = Field(description="As it was sent.", examples=[_PROPERTIES_EXAMPLE])


Name = Annotated[Text, Field(examples=["Checkout seen"])]
Description = Annotated[
    BlankableText,
    max_characters(10_000),
    Field(examples=["Any page of the checkout"], json_schema_extra={"maxLength": 10_000}),
]
Steps = Annotated[
    list[Annotated[ActionStep, BeforeValidator(_refuse_other_than_object)]],
    BeforeValidator(_limit_steps),
    IsList,
    NotNull,
    StorableJson,
    Field(
        description="An event matches the action if it matches at least one step; without steps no event does.",
        examples=[[_STEP_EXAMPLE]],
        json_schema_extra={"maxItems": limits.ACTION_STEPS.value},
    ),
]


class _StepsBody(RequestBody):
    @classmethod
    async def prepare(cls, document: object) -> None:
        """Compile the regular expressions of steps."""
        steps = parse_form_json(document.get("steps")) if isinstance(document, Mapping) else None
        try:
            check_limits(steps)
            await compile_patterns(trees_in(steps))
        except InvalidFilter as error:
            raise ValidationFailed(error.detail, code=error.code, attr="steps") from error


class ActionCreate(_StepsBody):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Checkout seen", "description": "Any page of the checkout", "steps": [_STEP_EXAMPLE]}]
        }
    )

    name: Name
    description: Description = ""
    steps: Steps = Field(default=[])
    deleted: Boolean = Field(default=False, description="Whether the action is hidden from the API from the start.")


class ActionUpdate(_StepsBody):
    """A partial update: only fields that were sent are applied."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"description": "Any page of the checkout"}]})

    name: Omittable[Name] = None
    description: Omittable[Description] = None
    steps: Omittable[Steps] = Field(default=None, description="Replaces all steps.")
    deleted: Omittable[Boolean] = Field(default=None, description="`true` deletes the action.")


class ActionReplace(ActionUpdate):
    """A full update: the name is required; other fields that were not sent keep their values."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Checkout seen", "steps": [_STEP_EXAMPLE]}]})

    name: Name


class ActionRead(ResponseBody):
    id: int = Field(examples=[1])
    name: str = Field(examples=["Checkout seen"])
    description: str = Field(examples=["Any page of the checkout"])
    tags: list[str] = Field(description="Always empty.", examples=[[]])
    post_to_slack: Literal[False] = Field(description="Always false.")
    slack_message_format: Literal[""] = Field(description="Always empty.")
    steps: list[ActionStepRead]
    created_at: UtcDatetime
    created_by: UserBasic | None
    deleted: bool = Field(description="Deleted actions are hidden from the API.")
    is_calculating: Literal[False] = Field(description="Always false: events are matched when results are read.")
    last_calculated_at: UtcDatetime = Field(description="When the action was created.")
    team_id: int = Field(description="The project's id.", examples=[1])
    is_action: Literal[True]
