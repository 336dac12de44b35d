"""Bodies of projects and users."""

import functools
import zoneinfo
from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from app.schemas import RequestBody, ResponseBody
from app.types import LongText, NotNull, Omittable, UtcDatetime, max_characters


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


class ProjectCreate(RequestBody):
    name: ProjectName
    timezone: Timezone = "UTC"


class ProjectUpdate(RequestBody):
    """A partial update: only fields that were sent are applied."""

    name: Omittable[ProjectName] = None
    timezone: Omittable[Timezone] = None


class ProjectRead(ResponseBody):
    id: int = Field(examples=[1])
    uuid: UUID
    organization: UUID = Field(description="The organization that owns the project.")
    name: str = Field(examples=["Web shop"])
    timezone: str = Field(description="Days of results are days here.", examples=["Europe/Amsterdam"])
    api_token: str = Field(description="Public, write-only: SDKs send events with it.", examples=["phc_3xAmPl3"])
    created_at: UtcDatetime
    updated_at: UtcDatetime


class UserBasic(ResponseBody):
    """The short form of a user, as it stands in what he created."""

    id: int = Field(examples=[1])
    uuid: UUID
    distinct_id: str
    first_name: str = Field(examples=["Ann"])
    email: str = Field(examples=["ann@example.com"])


class OrganizationBasic(ResponseBody):
    id: UUID
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

    is_active: bool
    organization: OrganizationBasic | None
    organizations: list[OrganizationBasic]
    team: ProjectRead | None = Field(description="The current project, which `@current` stands for.")
