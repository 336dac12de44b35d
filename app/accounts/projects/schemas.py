"""Bodies of projects and users."""

import functools
import zoneinfo
from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

from app.accounts.users import UserBasic
from app.http.fields import Boolean, LongText, NotNull, Omittable, StorableJson, UtcDatetime, max_characters
from app.http.schemas import RequestBody, ResponseBody
from app.properties.filters import InvalidFilter, parse_filter
from app.properties.validation import validate_filter

ORGANIZATION_EXAMPLE = "0184305c-6f00-4000-8000-000000000001"
TEST_ACCOUNTS_EXAMPLE: list[JsonValue] = [
    {"key": "email", "value": "@example.com", "operator": "not_icontains", "type": "person"}
]


def read_timezone(value: object) -> object:
    """Accept the names of the IANA time zone database."""
    if not isinstance(value, str) or value not in _timezones():
        shown = str(value)[:100].encode(errors="replace").decode()  # lone surrogates cannot be sent back
        raise PydanticCustomError("invalid_choice", '"{value}" is not a valid choice.', {"value": shown})
    return value


@functools.cache
def _timezones() -> frozenset[str]:
    """Return all names. Kept: finding them opens some 600 files."""
    return frozenset(zoneinfo.available_timezones())


Timezone = Annotated[str, BeforeValidator(read_timezone), NotNull, Field(examples=["Europe/Amsterdam"])]
ProjectName = Annotated[
    LongText, max_characters(200), Field(examples=["Web shop"], json_schema_extra={"maxLength": 200})
]


def read_test_account_filters(value: object) -> object:
    """Accept a list of properties of events, persons, groups and cohorts that could be tested."""
    if not isinstance(value, list):
        raise PydanticCustomError("not_a_list", "Expected a list of items.")
    try:
        tree = parse_filter(value)
        validate_filter(tree)
    except InvalidFilter as error:
        raise PydanticCustomError("invalid_input", "{detail}", {"detail": error.detail}) from error
    if len(tree.children) < len(value):  # metrics pass over what is no property; a setting should not
        raise PydanticCustomError("invalid_input", "Not a valid list of properties.")
    return value


TestAccountFilters = Annotated[
    list[JsonValue],
    BeforeValidator(read_test_account_filters),
    NotNull,
    StorableJson,
    Field(examples=[TEST_ACCOUNTS_EXAMPLE]),
]


class ProjectCreate(RequestBody):
    name: ProjectName
    timezone: Timezone = "UTC"


class ProjectUpdate(RequestBody):
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


class ProjectRead(ResponseBody):
    id: int = Field(examples=[1])
    uuid: UUID = Field(examples=["0184305c-6f00-4000-8000-000000000002"])
    organization: UUID = Field(description="The organization that owns the project.", examples=[ORGANIZATION_EXAMPLE])
    name: str = Field(examples=["Web shop"])
    timezone: str = Field(description="Days of results are days here.", examples=["Europe/Amsterdam"])
    test_account_filters: list[JsonValue] = Field(
        description="What events have to satisfy to be no tests, for metrics with `filter_test_accounts`.",
        examples=[TEST_ACCOUNTS_EXAMPLE],
    )
    anonymize_ips: bool = Field(
        description="Whether events are stored without the address that they came from.", examples=[False]
    )
    api_token: str = Field(description="Public, write-only: SDKs send events with it.", examples=["phc_3xAmPl3"])
    created_at: UtcDatetime
    updated_at: UtcDatetime


class OrganizationBasic(ResponseBody):
    id: UUID = Field(examples=[ORGANIZATION_EXAMPLE])
    name: str = Field(examples=["Example"])


Level = Annotated[int, Field(description="What the member may do; always 1, a member, who may do everything.")]


class OrganizationRead(OrganizationBasic):
    created_at: UtcDatetime
    membership_level: Level = Field(examples=[1])


class OrganizationMemberRead(ResponseBody):
    id: int = Field(description="The membership's id, not the user's.", examples=[1])
    user: UserBasic
    joined_at: UtcDatetime
    level: Level = Field(examples=[1])


class UserRead(UserBasic):
    """The caller: who he is and where he belongs."""

    is_active: bool = Field(description="The keys of a user who is not active open nothing.", examples=[True])
    organization: OrganizationBasic | None = Field(description="The one he joined first.")
    organizations: list[OrganizationBasic]
    team: ProjectRead | None = Field(description="The current project, which `@current` stands for.")
