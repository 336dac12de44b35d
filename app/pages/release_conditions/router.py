"""The editor of a flag's release conditions, by fields or as JSON. It sends what a client of the API would."""

import re
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.common.errors import Conflict, ValidationFailed
from app.db.models import Experiment, FeatureFlag
from app.events.definitions.names import PERSON
from app.experiments.webhooks.dependencies import build_followed_flags
from app.flags.filters import group_type_index_of, variant_keys
from app.flags.schemas import FlagUpdate
from app.http.dependencies import get_database
from app.http.request_body import validate
from app.pages.credentials import PREFIX
from app.pages.dependencies import load_unit_of
from app.pages.editing.conditions import OPERATORS
from app.pages.editing.dependencies import load_property_names
from app.pages.editing.rows import Fields, count_rows, without_row
from app.pages.editing.staleness import refuse_stale, version_of
from app.pages.flags.dependencies import ChangingFlagVisitDep, has_begun, load_flag
from app.pages.reading_forms import read_form
from app.pages.release_conditions.form import (
    MOST_CONDITIONS,
    MOST_RELEASES,
    fits_fields,
    read_filters,
    read_releases,
    with_other_form,
    write_releases,
)
from app.pages.routing import PageRoute, link_from, show
from app.pages.visits import Visit

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)

_ROWS = re.compile(r"(add|remove)-(g|g\d{1,2}c)(\d{0,2})")


@router.get("/{project_id}/flags/{flag_id}/conditions/")
async def show_conditions(request: Request, visit: ChangingFlagVisitDep, flag_id: str) -> HTMLResponse:
    flag, experiments = await load_flag(request, visit, flag_id)
    return await _show(request, visit, flag, experiments, write_releases(flag.filters))


@router.post("/{project_id}/flags/{flag_id}/conditions/")
async def change_conditions(request: Request, visit: ChangingFlagVisitDep, flag_id: str) -> Response:
    """Change the release conditions, as ``PATCH feature_flags/{id}/`` does."""
    fields = await read_form(request)
    flag, experiments = await load_flag(request, visit, flag_id)
    asked = fields.get("do", "save")
    if (changed := _change_rows(fields, asked)) is not None:
        return await _show(request, visit, flag, experiments, changed)
    if has_begun(experiments) and fields.get("against") != "yes":
        errors = {"against": "An experiment that has begun uses this flag: say that you know."}
        return await _show(request, visit, flag, experiments, fields, errors, status=409)
    errors = {}
    try:
        refuse_stale(fields, version_of(flag.filters), "flag")
        reader = read_filters if asked == "json" else read_releases
        read = reader(flag.filters, fields, errors)
        if errors:
            raise ValidationFailed(next(iter(errors.values())))
        document = {"filters": read}
        await FlagUpdate.prepare(document)
        change = validate(FlagUpdate, document)
        async with get_database(request).write() as session:
            flags = build_followed_flags(session, visit.project.id)
            locked = await flags.get(flag_id, for_update=True)
            refuse_stale(fields, version_of(locked.filters), "flag")
            await flags.update(locked, change, visit.user)
    except Conflict as conflict:
        fields = {**fields, "seen": version_of(flag.filters)}
        return await _show(request, visit, flag, experiments, fields, {"form": conflict.detail}, status=409)
    except ValidationFailed as refusal:
        errors = errors or {"filters" if asked == "json" else "conditions": refusal.detail}
        return await _show(request, visit, flag, experiments, fields, errors, status=400)
    address = link_from(request)("show_flag", project_id=visit.project.id, flag_id=flag.id)
    return RedirectResponse(f"{address}?done=yes", status_code=303)


def _change_rows(fields: Fields, asked: str) -> dict[str, str] | None:
    """Return the fields after a button that adds or removes a row; None for other buttons."""
    match = _ROWS.fullmatch(asked)
    if match is None:
        return None
    verb, kind, index = match.groups()
    count = count_rows(fields, kind)
    if verb == "remove":
        return without_row(fields, kind, int(index)) if index else dict(fields)
    most, first = (MOST_RELEASES, "rollout") if kind == "g" else (MOST_CONDITIONS, "key")
    return {**fields, f"{kind}{count}_{first}": ""} if count < most else dict(fields)


async def _show(
    request: Request,
    visit: Visit,
    flag: FeatureFlag,
    experiments: list[Experiment],
    fields: Fields,
    errors: Mapping[str, str] | None = None,
    *,
    status: int = 200,
) -> HTMLResponse:
    fields = with_other_form(flag.filters, fields)
    group_type = group_type_index_of(flag.filters)
    subject = PERSON if group_type is None else f"group_{group_type}"
    return await show(
        request,
        "flag_conditions.html",
        status,
        visit=visit,
        flag=flag,
        fields=fields,
        fits_fields=fits_fields(flag.filters),
        errors=errors or {},
        release_count=count_rows(fields, "g"),
        condition_counts=[count_rows(fields, f"g{place}c") for place in range(count_rows(fields, "g"))],
        operators=OPERATORS,
        variants={"": "by the split", **{key: f"always {key}" for key in variant_keys(flag.filters)}},
        properties=await load_property_names(request, visit, subject),
        users=[one for one in experiments if has_begun([one])],
        unit=await load_unit_of(request, visit.project, flag),
    )
