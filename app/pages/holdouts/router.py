"""The list of holdouts, and the form of one. It sends what a client of `experiment_holdouts/` would."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from app.common.errors import Conflict, ValidationFailed
from app.common.number_texts import format_chosen_share
from app.common.timestamps import write_moment
from app.db.models import Experiment, Holdout
from app.experiments.current_state import current_status
from app.experiments.holdout_analysis.dependencies import build_holdout_analyzer
from app.experiments.holdout_analysis.service import OTHERS
from app.experiments.holdouts.dependencies import build_holdouts
from app.experiments.holdouts.schemas import HoldoutCreate, HoldoutUpdate
from app.experiments.holdouts.service import percentage_of
from app.flags.holdouts import holdout_variant
from app.http.dependencies import get_database
from app.http.pagination import read_count
from app.http.request_body import validate
from app.pages.credentials import PREFIX
from app.pages.dependencies import ChangingVisitDep, VisitDep, limit_page_time
from app.pages.editing.deletion import Deletion, ask_to_delete
from app.pages.editing.rows import Fields, Row, errors_beside, keep_text, write_number
from app.pages.editing.staleness import Versions
from app.pages.reading_forms import read_form
from app.pages.routing import PageRoute, back_to, link_from, show
from app.pages.visits import Visit

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)
_VERSIONS: Final[Versions[Holdout]] = Versions("holdout", lambda holdout: write_moment(holdout.updated_at))

PAGE_ITEMS: Final = 50


@router.get("/{project_id}/holdouts/")
async def show_holdouts(request: Request, visit: VisitDep, offset: str = "") -> HTMLResponse:
    start = read_count(offset, 0, minimum=0)
    async with get_database(request).read() as session:
        count, listed = await build_holdouts(session, visit.project.id).page(PAGE_ITEMS, start)
    return await show(
        request,
        "holdouts.html",
        visit=visit,
        holdouts=[(one, format_chosen_share(percentage_of(one) / 100)) for one in listed],
        count=count,
        offset=start,
        step=PAGE_ITEMS,
    )


@router.get("/{project_id}/holdouts/new/")
async def show_new_holdout(request: Request, visit: ChangingVisitDep) -> HTMLResponse:
    return await _show(request, visit, {"share": "5"})


@router.post("/{project_id}/holdouts/new/")
async def create_holdout_by_form(request: Request, visit: ChangingVisitDep) -> Response:
    fields, errors = await read_form(request), dict[str, str]()
    document = _read(fields, errors)
    if not errors:
        try:
            body = validate(HoldoutCreate, document)
            async with get_database(request).write() as session:
                await build_holdouts(session, visit.project.id).create(body, visit.user)
        except ValidationFailed as refusal:
            errors = errors_beside(refusal, {"filters": "share"})
    if errors:
        return await _show(request, visit, fields, errors, status=400)
    return back_to(request, visit, "show_holdouts")


@router.get("/{project_id}/holdouts/{holdout_id}/")
async def show_holdout(request: Request, visit: ChangingVisitDep, holdout_id: str) -> HTMLResponse:
    holdout, experiments = await _load(request, visit, holdout_id)
    return await _show(request, visit, _write(holdout), holdout=holdout, experiments=experiments)


@router.post("/{project_id}/holdouts/{holdout_id}/")
async def change_holdout_by_form(request: Request, visit: ChangingVisitDep, holdout_id: str) -> Response:
    fields, errors = await read_form(request), dict[str, str]()
    holdout, experiments = await _load(request, visit, holdout_id)
    if fields.get("do") == "delete":
        return await _delete(request, visit, holdout, experiments, fields)
    document, status = _read(fields, errors, holdout), 400
    if not errors:
        try:
            body = validate(HoldoutUpdate, document)
            async with get_database(request).write() as session:
                holdouts = build_holdouts(session, visit.project.id)
                await holdouts.update(await _VERSIONS.lock(holdouts, holdout.id, fields), body, visit.user)
        except Conflict as conflict:
            fields = {**fields, "seen": write_moment(holdout.updated_at)}
            errors, status = {"form": conflict.detail}, conflict.status
        except ValidationFailed as refusal:
            errors = errors_beside(refusal, {"filters": "share"})
    if errors:
        return await _show(request, visit, fields, errors, holdout=holdout, experiments=experiments, status=status)
    return back_to(request, visit, "show_holdouts")


@router.get("/{project_id}/holdouts/{holdout_id}/results/")
async def show_holdout_results(request: Request, visit: VisitDep, holdout_id: str, metric: str = "") -> HTMLResponse:
    """Return what all experiments of a holdout together changed of a metric."""
    holdout, _ = await _load(request, visit, holdout_id)
    analyzer = build_holdout_analyzer(get_database(request), request.app.state.materializer, visit.project)
    metrics = await analyzer.metrics(holdout)
    chosen = metric if metric in metrics else next(iter(metrics), "")
    analysis, problem = None, "None of its experiments has a metric with a name of its own, and there is no shared one."
    if chosen:
        try:
            async with limit_page_time(request):
                analysis = await analyzer.analyze(holdout, chosen)
        except ValidationFailed as refusal:
            problem = refusal.detail
    return await show(
        request,
        "holdout_results.html",
        visit=visit,
        holdout=holdout,
        metrics=metrics,
        chosen=chosen,
        analysis=analysis,
        problem=problem,
        colors={} if analysis is None else {holdout_variant(holdout.id): 0, OTHERS: 1},
        timezone=ZoneInfo(visit.project.timezone),
    )


async def _delete(
    request: Request, visit: Visit, holdout: Holdout, experiments: Sequence[Experiment], fields: Fields
) -> Response:
    """Ask whether to delete a holdout, and do so after the answer."""
    if fields.get("sure") != "yes":
        link, project_id = link_from(request), visit.project.id
        deletion = Deletion(
            "holdout",
            holdout.name,
            ["It is gone for good.", "A holdout that an experiment names is not deleted."],
            page=link("show_holdout", project_id=project_id, holdout_id=holdout.id),
            listed_at=link("show_holdouts", project_id=project_id),
            list_title="Holdouts",
        )
        return await ask_to_delete(request, visit, deletion, fields.get("seen", ""))
    try:
        async with get_database(request).write() as session:
            holdouts = build_holdouts(session, visit.project.id)
            await holdouts.delete(await _VERSIONS.lock_to_delete(holdouts, holdout.id, fields))
    except (Conflict, ValidationFailed) as refusal:
        errors = {"form": refusal.detail}
        return await _show(
            request, visit, _write(holdout), errors, holdout=holdout, experiments=experiments, status=refusal.status
        )
    return back_to(request, visit, "show_holdouts")


async def _load(request: Request, visit: Visit, reference: str) -> tuple[Holdout, Sequence[Experiment]]:
    """Return a holdout and the experiments that name it."""
    async with get_database(request).read() as session:
        holdouts = build_holdouts(session, visit.project.id)
        holdout = await holdouts.get(reference)
        return holdout, await holdouts.experiments_of(holdout)


def _write(holdout: Holdout) -> dict[str, str]:
    """Return the fields of a form that shows a holdout."""
    return {
        "name": holdout.name,
        "description": holdout.description or "",
        "share": write_number(percentage_of(holdout)),
        "seen": write_moment(holdout.updated_at),
    }


def _read(fields: Fields, errors: dict[str, str], stored: Holdout | None = None) -> dict[str, Any]:
    """Return the document of a form. What shows nothing else than what is stored is as ``stored``."""
    form = Row(fields, "", errors)
    share = form.percentage("share")
    if share is None:
        form.refuse("share", "Say how many are held out, in percent.")
    document: dict[str, Any] = {
        "name": form.required("name", "Give the holdout a name."),
        "description": form.text("description") or None,
        "filters": [{"properties": [], "rollout_percentage": share}],
    }
    if stored is not None:
        document["name"] = keep_text(document["name"], stored.name)
        document["description"] = keep_text(document["description"], stored.description, lines=True)
        if form.text("share") == write_number(percentage_of(stored)):
            del document["filters"]
    return document


async def _show(
    request: Request,
    visit: Visit,
    fields: Fields,
    errors: Mapping[str, str] | None = None,
    *,
    holdout: Holdout | None = None,
    experiments: Sequence[Experiment] = (),
    status: int = 200,
) -> HTMLResponse:
    return await show(
        request,
        "holdout.html",
        status,
        visit=visit,
        holdout=holdout,
        experiments=[(one, current_status(one)) for one in experiments],
        is_launched=any(one.start_date is not None for one in experiments),
        fields=fields,
        errors=errors or {},
    )
