"""The feature flag as clients write and read it."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from app.accounts.users import UserBasic
from app.common.errors import ValidationFailed
from app.flags.filters import compile_conditions
from app.flags.options import with_enrollment
from app.http.fields import BlankableText, Boolean, JsonObject, Omittable, Text, UtcDatetime, parse_form_json
from app.http.schemas import RequestBody, ResponseBody

FILTERS_EXAMPLE: dict[str, JsonValue] = {
    "groups": [
        {
            "properties": [{"key": "country", "value": ["NL"], "operator": "exact", "type": "person"}],
            "rollout_percentage": 50,
        }
    ],
    "multivariate": {
        "variants": [
            {"key": "control", "name": "Control Group", "rollout_percentage": 50},
            {"key": "test", "name": "Test Variant", "rollout_percentage": 50},
        ]
    },
    "payloads": {"test": '{"color": "green"}'},
}

Name = Annotated[BlankableText, Field(description="What the flag is used for.", examples=["Green checkout button"])]
Key = Annotated[
    Text,
    Field(
        description="The key by which SDKs request the flag, unique among the undeleted flags of a project.",
        examples=["checkout"],
    ),
]
Filters = Annotated[
    JsonObject,
    Field(
        description="`groups`: release conditions, of which at least one must hold. `multivariate`: the variants and"
        " their percentages. `payloads`: JSON texts that SDKs get with a variant. `holdout`: `id` and"
        " `exclusion_percentage` of the people who are kept out before any condition; `super_groups`,"
        " `feature_enrollment` and `early_exit` as PostHog's. Other fields are stored as sent.",
        examples=[FILTERS_EXAMPLE],
    ),
]
Deleted = Annotated[Boolean, Field(description="A deleted flag is off and is not listed, and its key is free.")]
Active = Annotated[Boolean, Field(description="Inactive flags evaluate to false for everyone.")]
Continuity = Annotated[Boolean, Field(description="Keep a person's variant when they log in.")]


class FlagDocument(RequestBody):
    """A body with the filters of a flag."""

    @classmethod
    async def prepare(cls, document: object) -> None:
        """Compile the regular expressions of the conditions."""
        filters = parse_form_json(document.get("filters")) if isinstance(document, Mapping) else None
        if isinstance(filters, dict):
            with suppress(ValidationFailed):  # other refusals of the body come first
                await compile_conditions(with_enrollment(filters))


class FlagCreate(FlagDocument):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"key": "checkout", "name": "Green checkout button", "filters": FILTERS_EXAMPLE}]
        }
    )

    name: Name = ""
    key: Key
    filters: Filters = Field(default={}, description="Without `groups` the flag is released to everyone.")
    deleted: Deleted = False
    active: Active = True
    ensure_experience_continuity: Continuity = False


class FlagUpdate(FlagDocument):
    """A partial update: only fields that were sent are applied."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"active": False}]})

    name: Omittable[Name] = None
    key: Omittable[Key] = None
    filters: Omittable[Filters] = Field(
        default=None,
        description="Replaced as a whole, but for a holdout that they do not name; ignored without `groups`.",
    )
    deleted: Omittable[Deleted] = None
    active: Omittable[Active] = None
    ensure_experience_continuity: Omittable[Continuity] = None


class FlagReplace(FlagUpdate):
    """A full update: the key is required; other fields that were not sent keep their values."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"key": "checkout", "filters": FILTERS_EXAMPLE}]})

    key: Key


class FlagRead(ResponseBody):
    id: int = Field(examples=[8])
    name: str = Field(examples=["Green checkout button"])
    key: str = Field(examples=["checkout"])
    filters: dict[str, JsonValue] = Field(examples=[FILTERS_EXAMPLE])
    deleted: bool = Field(description="A deleted flag is off and is not listed, and its key is free.")
    active: bool = Field(description="Inactive flags evaluate to false for everyone.", examples=[True])
    created_by: UserBasic | None
    created_at: UtcDatetime
    is_simple_flag: bool = Field(
        description="Whether the flag has a single release condition, a percentage of all persons."
    )
    rollout_percentage: int | float | None = Field(
        description="The percentage of a simple flag, where null means everyone; null for other flags.", examples=[50]
    )
    ensure_experience_continuity: bool = Field(description="Keep a person's variant when they log in.")
    experiment_set: list[int] = Field(description="The ids of the experiments that use the flag.", examples=[[]])
    rollback_conditions: None = Field(description="Always null: the service does not roll back flags.")
    performed_rollback: None = Field(description="Always null.")
    can_edit: bool = Field(description="Always true: every member may change the flag.", examples=[True])
