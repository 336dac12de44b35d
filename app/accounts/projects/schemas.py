"""Bodies of projects and users."""

import functools
import zoneinfo
from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

from app.accounts.users import UserBasic
from app.common.errors import ValidationFailed
from app.http.fields import (
    Boolean,
    LongText,
    NotNull,
    Omittable,
    StorableJson,
    UtcDatetime,
    max_characters,
    parse_form_json,
    refusal,
)
from app.http.schemas import RequestBody, ResponseBody, StrictBody
from app.properties.budget import FilterBudget, check_size
from app.properties.filters import InvalidFilter, parse_filter
from app.properties.validation import compile_patterns, validate_filter

ORGANIZATION_EXAMPLE = "0184305c-6f00-4000-8000-000000000001"
TEST_ACCOUNTS_EXAMPLE: list[JsonValue] = [
    {"key": "email", "value": "@example.com", "operator": "not_icontains", "type": "person"}
]


def read_timezone(value: object) -> object:
    """Accept the names of the IANA time zone database."""
    if not isinstance(value, str) or value not in timezone_names():
        shown = str(value)[:100].encode(errors="replace").decode()  # a response cannot contain lone surrogates
        raise PydanticCustomError("invalid_choice", '"{value}" is not a valid choice.', {"value": shown})
    return value


@functools.cache
def timezone_names() -> frozenset[str]:
    """Return the names of the IANA time zone database. Cached, because listing them opens some 600 files."""
    return frozenset(zoneinfo.available_timezones())


Timezone = Annotated[str, BeforeValidator(read_timezone), NotNull, Field(examples=["Europe/Amsterdam"])]
ProjectName = Annotated[
    LongText, max_characters(200), Field(examples=["Web shop"], json_schema_extra={"maxLength": 200})
]


def read_test_account_filters(value: object) -> object:
    """Accept a list of valid conditions on events, persons, groups and cohorts."""
    if not isinstance(value, list):
        raise PydanticCustomError("not_a_list", "Expected a list of items.")
    try:
        check_test_account_filters(value)
        validate_filter(parse_filter(value))
    except InvalidFilter as error:
        raise refusal(error.detail, error.code) from error
    return value


def check_test_account_filters(value: object) -> None:
    """Refuse filters that are too large, before they are read.

    Raises
    ------
    InvalidFilter
        Its ``code`` names the limit.
    """
    check_size(value)
    FilterBudget().count(value)


TestAccountFilters = Annotated[
    list[JsonValue],
    BeforeValidator(read_test_account_filters),
    NotNull,
    StorableJson,
    Field(examples=[TEST_ACCOUNTS_EXAMPLE]),
]


def read_attribution(value: object) -> object:
    """Accept the names of attributions."""
    if value not in ATTRIBUTIONS:
        shown = str(value)[:100].encode(errors="replace").decode()
        raise PydanticCustomError("invalid_choice", '"{value}" is not a valid choice.', {"value": shown})
    return value


ATTRIBUTIONS = ("events", "exposure")
Attribution = Annotated[
    str,
    BeforeValidator(read_attribution),
    NotNull,
    Field(examples=["events"], json_schema_extra={"enum": [*ATTRIBUTIONS]}),
]


class _FilteringBody(RequestBody):
    @classmethod
    async def prepare(cls, document: object) -> None:
        """Compile the regular expressions of the filters of test accounts."""
        value = parse_form_json(document.get("test_account_filters")) if isinstance(document, Mapping) else None
        if not isinstance(value, list):
            return
        try:
            check_test_account_filters(value)
            await compile_patterns([parse_filter(value)])
        except InvalidFilter as error:
            raise ValidationFailed(error.detail, code=error.code, attr="test_account_filters") from error


class CupedConfig(StrictBody):
    """Adjustment of metrics by what the same persons did before their exposure (CUPED)."""

    enabled: Boolean = True
    lookback_days: Annotated[int, Field(ge=1, le=30, strict=True)] = Field(
        default=14,
        description="The days before the exposure of which the covariate is the same metric.",
        examples=[14],
    )


class ProjectCreate(_FilteringBody):
    name: ProjectName
    timezone: Timezone = "UTC"
    test_account_filters: TestAccountFilters = Field(default=[])
    anonymize_ips: Boolean = False
    default_attribution: Attribution = "events"
    default_cuped: CupedConfig | None = None


class ProjectUpdate(_FilteringBody):
    """A partial update: only fields that were sent are applied."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"timezone": "Europe/Amsterdam", "test_account_filters": TEST_ACCOUNTS_EXAMPLE}]
        }
    )

    name: Omittable[ProjectName] = None
    timezone: Omittable[Timezone] = None
    test_account_filters: Omittable[TestAccountFilters] = None
    anonymize_ips: Omittable[Boolean] = None
    default_attribution: Omittable[Attribution] = None
    default_cuped: CupedConfig | None = None


class ProjectRead(ResponseBody):
    id: int = Field(examples=[1])
    uuid: UUID = Field(examples=["0184305c-6f00-4000-8000-000000000002"])
    organization: UUID = Field(description="The organization that owns the project.", examples=[ORGANIZATION_EXAMPLE])
    name: str = Field(examples=["Web shop"])
    timezone: str = Field(description="The time zone of the days in results.", examples=["Europe/Amsterdam"])
    test_account_filters: list[JsonValue] = Field(
        description="Conditions that exclude test accounts: metrics with `filter_test_accounts` count only events that"
        " satisfy all of them.",
        examples=[TEST_ACCOUNTS_EXAMPLE],
    )
    anonymize_ips: bool = Field(
        description="Whether events are stored without the IP address of their sender.", examples=[False]
    )
    default_attribution: str = Field(
        description="What tells the variant of the events of funnels and trends, in experiments whose "
        "`parameters.attribution` does not say it: `events` (their property `$feature/<flag key>`) or `exposure`.",
        examples=["events"],
    )
    default_cuped: dict[str, bool | int] | None = Field(
        description="How typed means, ratios, ordered funnels and `dau` are adjusted by what persons did before their "
        "exposure (CUPED), in "
        "experiments whose `stats_config.cuped` does not say it; null: they are not.",
        examples=[{"enabled": True, "lookback_days": 14}],
    )
    api_token: str = Field(
        description="The public, write-only token with which SDKs send events.", examples=["phc_3xAmPl3"]
    )
    created_at: UtcDatetime
    updated_at: UtcDatetime


class OrganizationBasic(ResponseBody):
    id: UUID = Field(examples=[ORGANIZATION_EXAMPLE])
    name: str = Field(examples=["Example"])


Level = Annotated[int, Field(description="The access level of the member. Always 1: every member may do everything.")]


class OrganizationRead(OrganizationBasic):
    created_at: UtcDatetime
    membership_level: Level = Field(examples=[1])


class OrganizationMemberRead(ResponseBody):
    id: int = Field(description="The id of the membership, not of the user.", examples=[1])
    user: UserBasic
    joined_at: UtcDatetime
    level: Level = Field(examples=[1])


class UserRead(UserBasic):
    """The calling user, with those of their organizations and projects that the key may read."""

    is_active: bool = Field(description="Inactive users cannot authenticate.", examples=[True])
    organization: OrganizationBasic | None = Field(
        description="The organization that the user joined first; null without the scope `organization:read`."
    )
    organizations: list[OrganizationBasic]
    team: ProjectRead | None = Field(
        description="The current project, which `@current` means; null without the scope `project:read`."
    )
