"""The activity log of persons."""

from fastapi import APIRouter
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.activity_log.dependencies import ActivityLogDep
from app.activity_log.schemas import ActivityRead, read_entry
from app.http.pagination import PaginationDep
from app.http.routing import answer_other_methods
from app.http.schemas import Page
from app.people.directory.dependencies import DirectoryDep, PersonId

router = APIRouter(
    prefix="/api/projects/{project_id}/persons",
    tags=["Events and persons"],
    dependencies=[require_scope("person")],
)


@router.get("/activity/", summary="List what was done to persons")
async def list_persons_activity(log: ActivityLogDep, pagination: PaginationDep) -> Page[ActivityRead]:
    """Return who changed, split or erased which person and when, newest first.

    What events change is not logged. An entry names a person by id and UUID only, so it may outlive an erasure.
    """
    count, entries = await log.page("Person", None, pagination.limit, pagination.offset)
    return pagination.page(count, [read_entry(entry) for entry in entries])


@router.get("/{person_id}/activity/", summary="List what was done to a person")
async def list_person_activity(
    person_id: PersonId, log: ActivityLogDep, directory: DirectoryDep, pagination: PaginationDep
) -> Page[ActivityRead]:
    """Return who changed or split the person and when, newest first."""
    person = (await directory.get(person_id)).person
    count, entries = await log.page("Person", person.id, pagination.limit, pagination.offset)
    return pagination.page(count, [read_entry(entry) for entry in entries])


answer_other_methods(router, Depends(get_project))
