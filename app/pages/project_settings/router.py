"""The form of a project's settings. It sends what a client of `projects/` would."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.accounts.projects.schemas import ProjectUpdate, timezone_names
from app.accounts.projects.service import ProjectService
from app.common.errors import Conflict, ValidationFailed
from app.common.timestamps import write_moment
from app.events.definitions.names import PERSON
from app.http.dependencies import get_database
from app.http.request_body import validate
from app.pages.credentials import PREFIX, public_address
from app.pages.dependencies import visit_with_scope
from app.pages.editing.conditions import OPERATORS
from app.pages.editing.dependencies import load_property_names
from app.pages.editing.rows import Fields, change_rows, count_rows
from app.pages.editing.staleness import refuse_stale
from app.pages.project_settings.form import ATTRIBUTIONS, MOST_CONDITIONS, read_project, write_project
from app.pages.reading_forms import read_form
from app.pages.routing import PageRoute, link_from, show
from app.pages.visits import Visit

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)

_PLACES: Final = {
    "default_attribution": "attribution",
    "default_cuped": "days",
    "test_account_filters": "conditions",
    "anonymize_ips": "anonymize",
}


ProjectVisitDep = Annotated[Visit, Depends(visit_with_scope("project", "GET"))]
ChangingProjectVisitDep = Annotated[Visit, Depends(visit_with_scope("project", "PATCH"))]


@router.get("/{project_id}/settings/")
async def show_project(request: Request, visit: ProjectVisitDep, done: str = "") -> HTMLResponse:
    return await _show(request, visit, write_project(visit.project), done=bool(done))


@router.post("/{project_id}/settings/")
async def change_project_by_form(request: Request, visit: ChangingProjectVisitDep) -> Response:
    """Change the settings of a project, as ``PATCH projects/{id}/`` does."""
    fields, errors, project, status = await read_form(request), dict[str, str](), visit.project, 400
    if (changed := change_rows(fields, "c", "key", MOST_CONDITIONS)) is not None:
        return await _show(request, visit, changed)
    document = read_project(project, fields, errors)
    if not errors:
        try:
            await ProjectUpdate.prepare(document)
            body = validate(ProjectUpdate, document)
            async with get_database(request).write() as session:
                projects = ProjectService(session, visit.user)
                locked = await projects.get(project.id, for_update=True)
                refuse_stale(fields, write_moment(locked.updated_at), "project")
                await projects.update(locked, body)
        except Conflict as conflict:
            fields, status = {**fields, "seen": write_moment(project.updated_at)}, conflict.status
            errors = {"form": conflict.detail}
        except ValidationFailed as refusal:
            name = (refusal.attr or "form").partition("__")[0]
            errors = {_PLACES.get(name, name): refusal.detail}
    if errors:
        return await _show(request, visit, fields, errors, status=status)
    address = link_from(request)("show_project", project_id=project.id)
    return RedirectResponse(f"{address}?done=yes", status_code=303)


async def _show(
    request: Request,
    visit: Visit,
    fields: Fields,
    errors: dict[str, str] | None = None,
    *,
    done: bool = False,
    status: int = 200,
) -> HTMLResponse:
    return await show(
        request,
        "project.html",
        status,
        visit=visit,
        fields=fields,
        errors=errors or {},
        done=done,
        condition_count=count_rows(fields, "c"),
        operators=OPERATORS,
        attributions=ATTRIBUTIONS,
        timezones=sorted(timezone_names()),
        properties=await load_property_names(request, visit, PERSON),
        address=public_address(request),
    )
