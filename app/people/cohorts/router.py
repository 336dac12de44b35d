"""The endpoints of cohorts."""

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.params import Depends

from app.accounts.auth.dependencies import UserDep, get_project, require_scope
from app.accounts.idempotency.dependencies import ONCE, REUSED, KeyedRoute
from app.accounts.users import UserBasic
from app.http.pagination import PaginationDep
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.http.schemas import Page
from app.http.strictness import OF_2022
from app.people.cohorts.dependencies import CohortId, CohortsDep, CountingCohortsDep, LockedCohortDep
from app.people.cohorts.schemas import CohortCreate, CohortRead, CohortReplace, CohortUpdate
from app.people.cohorts.service import CountedCohort

router = APIRouter(
    route_class=KeyedRoute,
    prefix="/api/projects/{project_id}/cohorts",
    tags=["Cohorts"],
    dependencies=[require_scope("cohort"), OF_2022],
)


def _read(counted: CountedCohort) -> CohortRead:
    cohort = counted.cohort
    return CohortRead(
        id=cohort.id,
        name=cohort.name,
        description=cohort.description,
        groups=cohort.groups,
        deleted=cohort.deleted,
        filters=cohort.filters or {"properties": {}},
        is_calculating=False,
        created_by=UserBasic.model_validate(cohort.created_by) if cohort.created_by else None,
        created_at=cohort.created_at,
        last_calculation=None,
        errors_calculating=0,
        count=counted.count,
        is_static=cohort.is_static,
    )


@router.get("/", summary="List cohorts")
async def list_cohorts(cohorts: CohortsDep, pagination: PaginationDep) -> Page[CohortRead]:
    """Return the project's cohorts, newest first. Deleted ones are left out; dynamic ones are not counted here."""
    count, rows = await cohorts.page(pagination.limit, pagination.offset)
    return pagination.page(count, [_read(counted) for counted in rows])


@router.post("/", status_code=201, summary="Create a cohort", responses=REUSED, dependencies=[ONCE])
async def create_cohort(
    user: UserDep, cohorts: CohortsDep, body: Annotated[CohortCreate, body_of(CohortCreate)]
) -> CohortRead:
    """Create a cohort: a list of persons (`is_static`, with `distinct_ids`), or criteria that persons meet.

    Membership is evaluated at each request, from the current persons: merged persons are one person, and current
    properties apply. Criteria are properties of persons and membership of other cohorts. Behavioral criteria, about
    what persons did, cannot be evaluated and are refused. A cohort without criteria has no members.
    """
    return _read(await cohorts.count_list(await cohorts.create(body, user)))


@router.get("/{cohort_id}/", summary="Retrieve a cohort")
async def retrieve_cohort(cohort_id: CohortId, cohorts: CountingCohortsDep) -> CohortRead:
    """Return one cohort with its current number of persons."""
    return _read(await cohorts.count_members(await cohorts.get(cohort_id)))


@router.put("/{cohort_id}/", summary="Replace a cohort")
async def replace_cohort(
    cohort: LockedCohortDep, cohorts: CohortsDep, body: Annotated[CohortReplace, body_of(CohortReplace)]
) -> CohortRead:
    """Change a cohort as PATCH does. The name is required; other fields that are left out keep their values."""
    return _read(await cohorts.count_list(await cohorts.update(cohort, body)))


@router.patch("/{cohort_id}/", summary="Change a cohort")
async def update_cohort(
    cohort: LockedCohortDep, cohorts: CohortsDep, body: Annotated[CohortUpdate, body_of(CohortUpdate)]
) -> CohortRead:
    """Change the fields that are sent. `deleted: true` deletes the cohort.

    Criteria are replaced as a whole; `distinct_ids` are added to a static cohort's list.
    """
    return _read(await cohorts.count_list(await cohorts.update(cohort, body)))


@router.delete("/{cohort_id}/", status_code=204, summary="Delete a cohort")
async def delete_cohort(cohort: LockedCohortDep, cohorts: CohortsDep) -> Response:
    """Delete a cohort. It stays in the database, hidden from the API.

    Refused with the code `cohort_in_use` while a feature flag, an experiment, an action, another cohort or the filter
    of test accounts refers to it.
    """
    await cohorts.delete(cohort)
    return Response(status_code=204)


answer_other_methods(router, Depends(get_project))
