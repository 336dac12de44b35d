"""The endpoints that list groups and their types."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.params import Depends
from pydantic import WithJsonSchema

from app.accounts.auth.dependencies import get_project, require_scope
from app.common.errors import ValidationFailed
from app.http import openapi
from app.http.pagination import PaginationDep
from app.http.query_params import read_text
from app.http.routing import answer_other_methods
from app.http.strictness import OF_2022
from app.people.groups.dependencies import GroupsDep
from app.people.groups.repository import MAX_TYPES
from app.people.groups.schemas import GroupPage, GroupRead, GroupTypeRead

router = APIRouter(
    prefix="/api/projects/{project_id}", tags=["Events and persons"], dependencies=[require_scope("group"), OF_2022]
)


@router.get("/groups_types/", summary="List group types")
async def list_group_types(groups: GroupsDep) -> list[GroupTypeRead]:
    """Return the types of groups that events have named, in the order of their first event; there are at most five."""
    return [
        GroupTypeRead(group_type=row.name, group_type_index=row.type_index, name_singular=None, name_plural=None)
        for row in await groups.types()
    ]


@router.get("/groups/", summary="List groups")
async def list_groups(
    groups: GroupsDep,
    pagination: PaginationDep,
    group_type_index: Annotated[
        str | None,
        WithJsonSchema(
            {"type": "integer", "minimum": 0, "maximum": MAX_TYPES - 1, "examples": [0], openapi.REQUIRED: True}
        ),
        Query(description="The type of the groups, as listed under `groups_types`."),
    ] = None,
    search: Annotated[str | None, Query(description="Only groups whose key contains this text.")] = None,
) -> GroupPage:
    """Return the groups of one type that `$groupidentify` events have described, newest first."""
    index = _read_index(group_type_index)
    count, rows = await groups.page(index, read_text(search) or "", pagination.limit, pagination.offset)
    return GroupPage(
        next=pagination.next(count, len(rows)),
        previous=pagination.previous(),
        results=[
            GroupRead(
                group_type_index=row.type_index,
                group_key=row.key,
                group_properties=row.properties,
                created_at=row.created_at,
            )
            for row in rows
        ],
    )


def _read_index(text: str | None) -> int:
    if not text:
        raise ValidationFailed("This field is required.", code="required", attr="group_type_index")
    if text not in {str(index) for index in range(MAX_TYPES)}:
        detail = f"group_type_index is required to be at least 0 and less than {MAX_TYPES}"
        raise ValidationFailed(detail, attr="group_type_index")
    return int(text)


answer_other_methods(router, Depends(get_project))
