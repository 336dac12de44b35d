"""Cohorts as clients write and read them."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from app.accounts.users import UserBasic
from app.common.errors import ValidationFailed
from app.http.fields import (
    BlankableText,
    Boolean,
    IsList,
    JsonObject,
    NotNull,
    Omittable,
    StorableJson,
    Text,
    UtcDatetime,
    max_characters,
    parse_form_json,
    refusal,
)
from app.http.schemas import RequestBody, ResponseBody
from app.people.cohorts.criteria import check_limits, read_filters, read_groups, trees_in
from app.properties.filters import InvalidFilter
from app.properties.validation import compile_patterns

MAX_DISTINCT_ID_CHARACTERS = 200  # as in capture: longer ones are truncated

FILTERS_EXAMPLE: dict[str, JsonValue] = {
    "properties": {
        "type": "OR",
        "values": [
            {
                "type": "AND",
                "values": [{"key": "plan", "value": ["pro"], "operator": "exact", "type": "person"}],
            }
        ],
    }
}
_CRITERIA = {  # a piece of OpenAPI
    "anyOf": [
        {
            "type": "object",
            "required": ["type", "values"],
            "properties": {
                "type": {"enum": ["AND", "OR"]},
                "values": {"description": "A list of conditions, or of groups like this one."},
            },
        },
        {"type": "object", "not": {"required": ["type", "values"]}, "additionalProperties": True},
        {"type": "array", "items": {"type": "object", "additionalProperties": True}},
        {"type": "null"},
    ]
}
_FILTERS_SCHEMA = WithJsonSchema({"type": "object", "properties": {"properties": _CRITERIA}})
_GROUPS_SCHEMA = WithJsonSchema({"type": "array", "items": {"type": "object", "properties": {"properties": _CRITERIA}}})
_GROUPS_EXAMPLE = [{"properties": [{"key": "plan", "value": ["pro"], "operator": "exact", "type": "person"}]}]


def _check_filters(filters: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        check_limits(filters, ())
        read_filters(filters)
    except InvalidFilter as error:
        raise refusal(error.detail, error.code) from error
    return filters


def _check_groups(groups: list[JsonValue]) -> list[JsonValue]:
    try:
        check_limits(None, groups)
        read_groups(groups)
    except InvalidFilter as error:
        raise refusal(error.detail, error.code) from error
    return groups


def _read_distinct_ids(values: list[JsonValue]) -> list[str]:
    """Return the ids as capture stores them, without duplicates."""
    texts = list(map(str, values))
    if not set(map(type, values)) <= {str, int} or not all(map(str.strip, texts)):
        raise refusal("Distinct ids must be a list of texts that are not blank.")
    return list(dict.fromkeys(text[:MAX_DISTINCT_ID_CHARACTERS] for text in texts))


Name = Annotated[Text, Field(examples=["Paying customers"])]
Description = Annotated[
    BlankableText,
    max_characters(1000),
    Field(examples=["Everyone on a paid plan"], json_schema_extra={"maxLength": 1000}),
]
Filters = Annotated[
    JsonObject,
    AfterValidator(_check_filters),
    _FILTERS_SCHEMA,
    Field(
        description="The criteria of a dynamic cohort: nested groups of conditions on properties of persons, or of the "
        "type `cohort` with another cohort's id as value, an integer or its digits as text; or, in short, "
        "`{key: value}`, all of which must hold. `negation` inverts a condition. Behavioral criteria (what persons "
        "did) are refused: they cannot be evaluated.",
        examples=[FILTERS_EXAMPLE],
    ),
]
Groups = Annotated[
    list[JsonValue],
    AfterValidator(_check_groups),
    IsList,
    NotNull,
    StorableJson,
    _GROUPS_SCHEMA,
    Field(
        description="The older form of the criteria: all properties of at least one group. It applies where `filters` "
        "hold no condition.",
        examples=[_GROUPS_EXAMPLE],
    ),
]
DistinctIds = Annotated[
    list[JsonValue],
    AfterValidator(_read_distinct_ids),
    IsList,
    NotNull,
    StorableJson,
    WithJsonSchema({"type": "array", "items": {"anyOf": [{"type": "string", "pattern": r"\S"}, {"type": "integer"}]}}),
    Field(
        description="Ids to add to a static cohort's list. An unknown id counts as soon as a person has it.",
        examples=[["ann", "device-7"]],
    ),
]


class _CriteriaBody(RequestBody):
    @classmethod
    async def prepare(cls, document: object) -> None:
        """Compile the regular expressions of criteria."""
        if not isinstance(document, Mapping):
            return
        filters, groups = parse_form_json(document.get("filters")), parse_form_json(document.get("groups"))
        await _compile("filters", filters, [])
        await _compile("groups", None, groups if isinstance(groups, list) else [])


async def _compile(attr: str, filters: object, groups: list[JsonValue]) -> None:
    try:
        check_limits(filters, groups)
        await compile_patterns(trees_in(filters, groups))
    except InvalidFilter as error:
        raise ValidationFailed(error.detail, code=error.code, attr=attr) from error


class CohortCreate(_CriteriaBody):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Paying customers",
                    "description": "Everyone on a paid plan",
                    "filters": FILTERS_EXAMPLE,
                }
            ]
        }
    )

    name: Name
    description: Description = ""
    groups: Groups = Field(default=[])
    deleted: Boolean = Field(default=False, description="Whether the cohort is hidden from the API from the start.")
    filters: Filters = Field(default={})
    is_static: Boolean = Field(
        default=False, description="Whether the cohort is a list of persons rather than criteria. This cannot change."
    )
    distinct_ids: DistinctIds = Field(default=[])


class CohortUpdate(_CriteriaBody):
    """A partial update: only fields that were sent are applied."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"filters": FILTERS_EXAMPLE}]})

    name: Omittable[Name] = None
    description: Omittable[Description] = None
    groups: Omittable[Groups] = Field(default=None, description="If sent without `filters`, they replace both.")
    deleted: Omittable[Boolean] = Field(default=None, description="`true` deletes the cohort.")
    filters: Omittable[Filters] = None
    is_static: Omittable[Boolean] = Field(default=None, description="Cannot change.")
    distinct_ids: Omittable[DistinctIds] = Field(default=None, description="Ids to add to the list.")


class CohortReplace(CohortUpdate):
    """A full update: the name is required; other fields that were not sent keep their values."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Paying customers", "filters": FILTERS_EXAMPLE}]}
    )

    name: Name


class CohortRead(ResponseBody):
    id: int = Field(examples=[1])
    name: str = Field(examples=["Paying customers"])
    description: str = Field(examples=["Everyone on a paid plan"])
    groups: list[JsonValue] = Field(examples=[[]])
    deleted: bool = Field(description="Deleted cohorts are hidden from the API.")
    filters: dict[str, JsonValue] = Field(examples=[FILTERS_EXAMPLE])
    is_calculating: Literal[False] = Field(description="Always false: membership is evaluated at each request.")
    created_by: UserBasic | None
    created_at: UtcDatetime
    last_calculation: None = Field(description="Always null: nothing is calculated in advance.")
    errors_calculating: Literal[0] = Field(description="Always 0.")
    count: int | None = Field(
        description="The current number of persons. For a dynamic cohort it is null except where a single cohort is "
        "retrieved, because counting reads every person.",
        examples=[42],
    )
    is_static: bool = Field(description="Whether the cohort is a list of persons rather than criteria.")
