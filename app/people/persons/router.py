"""The endpoint that lists persons."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.http.pagination import PaginationDep
from app.http.query_params import read_text
from app.http.routing import answer_other_methods
from app.http.strictness import OF_2022
from app.people.persons.dependencies import PersonsDep
from app.people.persons.schemas import PersonPage, PersonRead
from app.people.persons.service import PersonWithDistinctIds

router = APIRouter(
    prefix="/api/projects/{project_id}/persons",
    tags=["Events and persons"],
    dependencies=[require_scope("person", ANALYTICS), OF_2022],
)


@router.get("/", summary="List persons")
async def list_persons(
    persons: PersonsDep,
    pagination: PaginationDep,
    distinct_id: Annotated[str | None, Query(description="Only the person that has this id.")] = None,
) -> PersonPage:
    """Return persons, newest first. A person that was merged into another is shown as part of the other."""
    count, found = await persons.page(read_text(distinct_id), pagination.limit, pagination.offset)
    return PersonPage(
        next=pagination.next(count, len(found)),
        previous=pagination.previous(),
        results=[_read(person) for person in found],
    )


def _read(found: PersonWithDistinctIds) -> PersonRead:
    person = found.person
    return PersonRead(
        id=person.id,
        uuid=person.uuid,
        distinct_ids=list(found.distinct_ids),
        properties=person.properties,
        is_identified=person.is_identified,
        created_at=person.created_at,
    )


answer_other_methods(router, Depends(get_project))
