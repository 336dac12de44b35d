"""Flags: their list, what each does, and changes of its rollout."""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.common.errors import ValidationFailed
from app.db.models import Experiment, FeatureFlag
from app.experiments.current_state import current_status
from app.experiments.webhooks.dependencies import build_followed_flags
from app.flags.filters import variant_keys
from app.flags.repository import FlagSelection
from app.flags.schemas import FlagUpdate
from app.http.dependencies import get_database
from app.http.pagination import read_count
from app.http.query_params import read_text
from app.http.request_body import validate
from app.pages.code.snippets import write_snippets
from app.pages.credentials import PREFIX, public_address
from app.pages.dependencies import load_group_type, load_unit_of
from app.pages.flags.dependencies import ChangingFlagVisitDep, FlagVisitDep, has_begun, is_running, load_flag
from app.pages.flags.form import read_rollout
from app.pages.flags.wording import describe_filters
from app.pages.reading_forms import read_form
from app.pages.routing import PageRoute, link_from, show
from app.pages.visits import Visit

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)

PAGE_ITEMS = 50
_ACTIVE = {"yes": True, "no": False}
_DONE = {
    "yes": "The flag is changed. SDKs that evaluate by themselves take it over within their polling interval.",
    "created": "The flag is created.",
}


@router.get("/{project_id}/flags/")
async def show_flags(
    request: Request, visit: FlagVisitDep, search: str = "", active: str = "", offset: str = "", done: str = ""
) -> HTMLResponse:
    start = read_count(offset, 0, minimum=0)
    selection = FlagSelection(read_text(search), _ACTIVE.get(active))
    async with get_database(request).read() as session:
        count, flags = await build_followed_flags(session, visit.project.id).page(selection, PAGE_ITEMS, start)
    return await show(
        request,
        "flags.html",
        visit=visit,
        flags=[(flag, describe_filters(flag.filters, "")) for flag in flags],
        count=count,
        offset=start,
        step=PAGE_ITEMS,
        done=bool(done),
        asked={"search": search, "active": active if active in _ACTIVE else ""},
    )


@router.get("/{project_id}/flags/{flag_id}/")
async def show_flag(request: Request, visit: FlagVisitDep, flag_id: str) -> HTMLResponse:
    flag, experiments = await load_flag(request, visit, flag_id)
    return await _show(request, visit, flag, experiments)


@router.post("/{project_id}/flags/{flag_id}/")
async def change_flag(request: Request, visit: ChangingFlagVisitDep, flag_id: str) -> Response:
    """Change whether a flag is active, or its percentages, as ``PATCH feature_flags/{id}/`` does."""
    fields = await read_form(request)
    flag, experiments = await load_flag(request, visit, flag_id)
    if has_begun(experiments) and fields.get("against") != "yes":
        detail = "An experiment that has begun uses this flag: say that you know."
        return await _show(request, visit, flag, experiments, fields=fields, errors={"against": detail}, status=409)
    errors: dict[str, str] = {}
    try:
        async with get_database(request).write() as session:
            flags = build_followed_flags(session, visit.project.id)
            locked = await flags.get(flag_id, for_update=True)
            change: dict[str, object] = {"active": fields["active"] == "yes"} if "active" in fields else {}
            if not change:
                change = {"filters": read_rollout(locked.filters, fields, errors)}
            if errors:
                raise ValidationFailed(next(iter(errors.values())), attr=next(iter(errors)))
            await flags.update(locked, validate(FlagUpdate, change), visit.user)
    except ValidationFailed as refusal:
        errors.setdefault("split", refusal.detail)
        return await _show(request, visit, flag, experiments, fields=fields, errors=errors, status=400)
    address = link_from(request)("show_flag", project_id=visit.project.id, flag_id=flag.id)
    return RedirectResponse(f"{address}?done=yes", status_code=303)


async def _show(
    request: Request,
    visit: Visit,
    flag: FeatureFlag,
    experiments: list[Experiment],
    *,
    fields: Mapping[str, str] | None = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> HTMLResponse:
    return await show(
        request,
        "flag.html",
        status,
        visit=visit,
        flag=flag,
        words=describe_filters(flag.filters, await load_unit_of(request, visit.project, flag)),
        experiments=[(one, current_status(one)) for one in experiments],
        is_running=is_running(experiments),
        is_used=has_begun(experiments),
        fields=fields or {},
        errors=errors or {},
        done=_DONE.get(request.query_params.get("done", ""), ""),
        snippets=write_snippets(
            public_address(request),
            visit.project.api_token,
            flag.key,
            variant_keys(flag.filters),
            await load_group_type(request, visit.project, flag),
        ),
    )
