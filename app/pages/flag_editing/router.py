"""The form that creates a flag, changes what it is, and deletes it. It sends what a client of the API would."""

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.common import limits
from app.common.errors import Conflict, ValidationFailed
from app.db.models import FeatureFlag
from app.experiments.webhooks.dependencies import build_followed_flags
from app.flags.schemas import FlagCreate, FlagUpdate
from app.http.dependencies import get_database
from app.http.request_body import validate
from app.pages.credentials import PREFIX
from app.pages.dependencies import load_units
from app.pages.editing.deletion import Deletion, ask_to_delete
from app.pages.editing.rows import Fields, change_rows, count_rows
from app.pages.editing.staleness import refuse_stale, refuse_stale_deletion
from app.pages.flag_editing.form import BLANK, read_change, read_new, version_of_flag, write_flag
from app.pages.flags.dependencies import ChangingFlagVisitDep, has_begun, load_flag
from app.pages.reading_forms import read_form
from app.pages.routing import PageRoute, link_from, show
from app.pages.visits import Visit

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)

_RUNS: Final = "An experiment that has begun uses this flag: say that you know."
_ENDS: Final = "An experiment that has begun uses this flag: it assigns no variants any more. End it first."
# Where an error of the API is shown.
_PLACES: Final = {"key": "key", "name": "name", "deleted": "form"}


@router.get("/{project_id}/flags/new/")
async def show_new_flag(request: Request, visit: ChangingFlagVisitDep) -> HTMLResponse:
    return await _show(request, visit, BLANK)


@router.post("/{project_id}/flags/new/")
async def create_flag_by_form(request: Request, visit: ChangingFlagVisitDep) -> Response:
    fields, errors = await read_form(request), dict[str, str]()
    if (changed := change_rows(fields, "v", "key", limits.VARIANTS.value)) is not None:
        return await _show(request, visit, changed)
    document = read_new(fields, errors)
    if errors:
        return await _show(request, visit, fields, errors, status=400)
    try:
        await FlagCreate.prepare(document)
        body = validate(FlagCreate, document)
        async with get_database(request).write() as session:
            flag = await build_followed_flags(session, visit.project.id).create(body, visit.user)
    except ValidationFailed as refusal:
        return await _show(request, visit, fields, _errors_of(refusal), status=400)
    return RedirectResponse(f"{_page_of(request, visit, flag)}?done=created", status_code=303)


@router.get("/{project_id}/flags/{flag_id}/edit/")
async def show_flag_form(request: Request, visit: ChangingFlagVisitDep, flag_id: str) -> HTMLResponse:
    flag, experiments = await load_flag(request, visit, flag_id)
    return await _show(request, visit, write_flag(flag), flag=flag, is_used=has_begun(experiments))


@router.post("/{project_id}/flags/{flag_id}/edit/")
async def change_flag_by_form(request: Request, visit: ChangingFlagVisitDep, flag_id: str) -> Response:
    """Change what a flag is, as ``PATCH feature_flags/{id}/`` does."""
    fields, errors = await read_form(request), dict[str, str]()
    flag, experiments = await load_flag(request, visit, flag_id)
    is_used, status = has_begun(experiments), 400
    if (changed := change_rows(fields, "v", "key", limits.VARIANTS.value)) is not None:
        return await _show(request, visit, changed, flag=flag, is_used=is_used)
    if is_used and fields.get("against") != "yes":
        return await _show(request, visit, fields, {"against": _RUNS}, flag=flag, is_used=is_used, status=409)
    try:
        refuse_stale(fields, version_of_flag(flag), "flag")
        document = read_change(flag, fields, errors)
        if not errors:
            await FlagUpdate.prepare(document)
            body = validate(FlagUpdate, document)
            async with get_database(request).write() as session:
                flags = build_followed_flags(session, visit.project.id)
                locked = await flags.get(flag_id, for_update=True)
                refuse_stale(fields, version_of_flag(locked), "flag")
                await flags.update(locked, body, visit.user)
    except Conflict as conflict:
        fields, errors, status = {**fields, "seen": version_of_flag(flag)}, {"form": conflict.detail}, 409
    except ValidationFailed as refusal:
        errors = _errors_of(refusal)
    if errors:
        return await _show(request, visit, fields, errors, flag=flag, is_used=is_used, status=status)
    return RedirectResponse(f"{_page_of(request, visit, flag)}?done=yes", status_code=303)


@router.get("/{project_id}/flags/{flag_id}/delete/")
async def ask_to_delete_flag(request: Request, visit: ChangingFlagVisitDep, flag_id: str) -> HTMLResponse:
    flag, experiments = await load_flag(request, visit, flag_id)
    deletion = _deletion_of(request, visit, flag, is_used=has_begun(experiments))
    return await ask_to_delete(request, visit, deletion, version_of_flag(flag))


@router.post("/{project_id}/flags/{flag_id}/delete/")
async def delete_flag_by_form(request: Request, visit: ChangingFlagVisitDep, flag_id: str) -> Response:
    """Delete a flag, as ``PATCH feature_flags/{id}/`` with ``deleted`` does."""
    fields = await read_form(request)
    flag, experiments = await load_flag(request, visit, flag_id)
    if has_begun(experiments) and fields.get("against") != "yes":
        deletion = _deletion_of(request, visit, flag, is_used=True)
        return await ask_to_delete(request, visit, deletion, version_of_flag(flag), status=409)
    try:
        async with get_database(request).write() as session:
            flags = build_followed_flags(session, visit.project.id)
            locked = await flags.get(flag_id, for_update=True)
            refuse_stale_deletion(fields, version_of_flag(locked), "flag")
            await flags.update(locked, FlagUpdate(deleted=True), visit.user)
    except (Conflict, ValidationFailed) as refusal:
        errors, is_used = {"form": refusal.detail}, has_begun(experiments)
        return await _show(request, visit, write_flag(flag), errors, flag=flag, is_used=is_used, status=refusal.status)
    address = link_from(request)("show_flags", project_id=visit.project.id)
    return RedirectResponse(f"{address}?done=deleted", status_code=303)


def _deletion_of(request: Request, visit: Visit, flag: FeatureFlag, *, is_used: bool) -> Deletion:
    return Deletion(
        "flag",
        flag.key,
        [
            "It is off from now on: code that asks for it gets what it gets without it.",
            "It is not listed any more, and its key is free for another flag.",
            "Events stay, and so do the experiments that use it.",
        ],
        page=_page_of(request, visit, flag),
        listed_at=link_from(request)("show_flags", project_id=visit.project.id),
        list_title="Flags",
        objection="An experiment that has begun uses this flag: it assigns no variants any more. End it first."
        if is_used
        else "",
    )


def _page_of(request: Request, visit: Visit, flag: FeatureFlag) -> str:
    return link_from(request)("show_flag", project_id=visit.project.id, flag_id=flag.id)


def _errors_of(refusal: ValidationFailed) -> dict[str, str]:
    """Return an error of the API beside the field that it is about."""
    return {_PLACES.get(refusal.attr or "", "variants"): refusal.detail}


async def _show(
    request: Request,
    visit: Visit,
    fields: Fields,
    errors: dict[str, str] | None = None,
    *,
    flag: FeatureFlag | None = None,
    is_used: bool = False,
    status: int = 200,
) -> HTMLResponse:
    return await show(
        request,
        "flag_form.html",
        status,
        visit=visit,
        flag=flag,
        fields=fields,
        errors=errors or {},
        variant_count=count_rows(fields, "v"),
        units=await load_units(request, visit.project),
        is_used=is_used,
    )
