"""The list of cohorts, and the form of one. It sends what a client of `cohorts/` would."""

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse

from app.common.errors import Conflict, StillCounting, ValidationFailed
from app.db.models import Cohort
from app.events.definitions.names import PERSON
from app.http.dependencies import get_database
from app.http.pagination import read_count
from app.http.request_body import validate
from app.pages.cohorts.form import (
    KINDS,
    MATCHES,
    MOST_CONDITIONS,
    read_change,
    read_new,
    version_of_cohort,
    write_cohort,
)
from app.pages.credentials import PREFIX
from app.pages.dependencies import limit_page_time, visit_with_scope
from app.pages.editing.conditions import OPERATORS
from app.pages.editing.deletion import Deletion, ask_to_delete
from app.pages.editing.dependencies import load_property_names
from app.pages.editing.rows import Fields, change_rows, count_rows, errors_beside
from app.pages.editing.staleness import Versions
from app.pages.reading_forms import read_form
from app.pages.routing import PageRoute, back_to, link_from, show
from app.pages.visits import Visit
from app.people.cohorts.dependencies import build_cohorts
from app.people.cohorts.schemas import CohortCreate, CohortUpdate
from app.people.cohorts.service import CountedCohort

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)
_VERSIONS: Final[Versions[Cohort]] = Versions("cohort", version_of_cohort)

PAGE_ITEMS: Final = 50
_TOO_MANY: Final = "Counting takes longer than a page waits: `GET cohorts/<id>/` of the API waits longer."


CohortVisitDep = Annotated[Visit, Depends(visit_with_scope("cohort", "GET"))]
ChangingCohortVisitDep = Annotated[Visit, Depends(visit_with_scope("cohort", "POST"))]


@router.get("/{project_id}/cohorts/")
async def show_cohorts(request: Request, visit: CohortVisitDep, offset: str = "") -> HTMLResponse:
    start = read_count(offset, 0, minimum=0)
    async with get_database(request).read() as session:
        count, listed = await build_cohorts(session, visit.project.id).page(PAGE_ITEMS, start)
    return await show(request, "cohorts.html", visit=visit, cohorts=listed, count=count, offset=start, step=PAGE_ITEMS)


@router.get("/{project_id}/cohorts/new/")
async def show_new_cohort(request: Request, visit: ChangingCohortVisitDep) -> HTMLResponse:
    return await _show(request, visit, {"kind": "criteria", "c0_key": ""})


@router.post("/{project_id}/cohorts/new/")
async def create_cohort_by_form(request: Request, visit: ChangingCohortVisitDep) -> Response:
    fields, errors = await read_form(request), dict[str, str]()
    if (changed := change_rows(fields, "c", "key", MOST_CONDITIONS)) is not None:
        return await _show(request, visit, changed)
    document = read_new(fields, errors)
    if not errors:
        try:
            await CohortCreate.prepare(document)
            body = validate(CohortCreate, document)
            async with get_database(request).write() as session:
                await build_cohorts(session, visit.project.id).create(body, visit.user)
        except ValidationFailed as refusal:
            errors = _errors_of(refusal, fields)
    if errors:
        return await _show(request, visit, fields, errors, status=400)
    return back_to(request, visit, "show_cohorts")


@router.get("/{project_id}/cohorts/{cohort_id}/")
async def show_cohort(request: Request, visit: CohortVisitDep, cohort_id: str, count: str = "") -> HTMLResponse:
    counted, errors = await _load(request, visit, cohort_id), {}
    if count:
        try:
            counted = await _count(request, visit, cohort_id)
        except StillCounting:  # nothing of it is kept: a page that tries again would begin anew each time
            errors = {"form": _TOO_MANY}
    return await _show(request, visit, write_cohort(counted.cohort), errors, counted=counted)


@router.post("/{project_id}/cohorts/{cohort_id}/")
async def change_cohort_by_form(request: Request, visit: ChangingCohortVisitDep, cohort_id: str) -> Response:
    fields, errors = await read_form(request), dict[str, str]()
    counted = await _load(request, visit, cohort_id)
    cohort, status = counted.cohort, 400
    if (changed := change_rows(fields, "c", "key", MOST_CONDITIONS)) is not None:
        return await _show(request, visit, changed, counted=counted)
    if fields.get("do") == "delete":
        return await _delete(request, visit, counted, fields)
    document = read_change(cohort, fields, errors)
    if not errors:
        try:
            await CohortUpdate.prepare(document)
            body = validate(CohortUpdate, document)
            async with get_database(request).write() as session:
                cohorts = build_cohorts(session, visit.project.id)
                await cohorts.update(await _VERSIONS.lock(cohorts, cohort.id, fields), body)
        except Conflict as conflict:
            fields, status = {**fields, "seen": version_of_cohort(cohort)}, conflict.status
            errors = {"form": conflict.detail}
        except ValidationFailed as refusal:
            errors = _errors_of(refusal, fields)
    if errors:
        return await _show(request, visit, fields, errors, counted=counted, status=status)
    return back_to(request, visit, "show_cohorts")


async def _delete(request: Request, visit: Visit, counted: CountedCohort, fields: Fields) -> Response:
    """Ask whether to delete a cohort, and do so after the answer."""
    cohort = counted.cohort
    if fields.get("sure") != "yes":
        link, project_id = link_from(request), visit.project.id
        deletion = Deletion(
            "cohort",
            cohort.name,
            ["It is gone for good; its persons stay.", "A cohort that anything refers to is not deleted."],
            page=link("show_cohort", project_id=project_id, cohort_id=cohort.id),
            listed_at=link("show_cohorts", project_id=project_id),
            list_title="Cohorts",
        )
        return await ask_to_delete(request, visit, deletion, fields.get("seen", ""))
    try:
        async with get_database(request).write() as session:
            cohorts = build_cohorts(session, visit.project.id)
            await cohorts.delete(await _VERSIONS.lock_to_delete(cohorts, cohort.id, fields))
    except (Conflict, ValidationFailed) as refusal:
        errors = {"form": refusal.detail}
        return await _show(request, visit, write_cohort(cohort), errors, counted=counted, status=refusal.status)
    return back_to(request, visit, "show_cohorts")


async def _load(request: Request, visit: Visit, reference: str) -> CountedCohort:
    async with get_database(request).read() as session:
        cohorts = build_cohorts(session, visit.project.id)
        return await cohorts.count_list(await cohorts.get(reference))


async def _count(request: Request, visit: Visit, reference: str) -> CountedCohort:
    """Count the persons of a cohort, which reads all of the project's."""
    database = get_database(request)
    async with (
        limit_page_time(request),
        database.aggregation_slots.slot(visit.project.id),
        database.snapshot() as session,
    ):
        cohorts = build_cohorts(session, visit.project.id)
        return await cohorts.count_members(await cohorts.get(reference))


def _errors_of(refusal: ValidationFailed, fields: Fields) -> dict[str, str]:
    """Return an error of the API beside the field that it is about."""
    return errors_beside(refusal, {"filters": "json" if fields.get("json") else "conditions", "distinct_ids": "ids"})


async def _show(
    request: Request,
    visit: Visit,
    fields: Fields,
    errors: Mapping[str, str] | None = None,
    *,
    counted: CountedCohort | None = None,
    status: int = 200,
) -> HTMLResponse:
    return await show(
        request,
        "cohort.html",
        status,
        visit=visit,
        counted=counted,
        fields=fields,
        errors=errors or {},
        condition_count=count_rows(fields, "c"),
        operators=OPERATORS,
        matches=MATCHES,
        kinds=KINDS,
        properties=await load_property_names(request, visit, PERSON),
    )
