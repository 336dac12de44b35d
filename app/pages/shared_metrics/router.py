"""The list of shared metrics, and the form of one. It sends what a client of `experiment_saved_metrics/` would."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from app.common import limits
from app.common.errors import Conflict, ValidationFailed
from app.common.nouns import PERSONS
from app.common.timestamps import write_moment
from app.db.models import SavedMetric
from app.events.usage.repository import EventUsageQueries
from app.experiments.saved_metrics.dependencies import build_saved_metrics
from app.experiments.saved_metrics.schemas import SavedMetricCreate, SavedMetricUpdate
from app.http.dependencies import get_database
from app.http.pagination import read_count
from app.http.request_body import find_refusals, validate
from app.pages.credentials import PREFIX
from app.pages.dependencies import ChangingVisitDep, VisitDep
from app.pages.editing import metrics
from app.pages.editing.deletion import Deletion, ask_to_delete
from app.pages.editing.dependencies import load_choices
from app.pages.editing.documents import field_of_metric, new_reference
from app.pages.editing.rows import Fields, Row, keep_text
from app.pages.editing.staleness import Versions
from app.pages.reading_forms import read_form
from app.pages.routing import PageRoute, back_to, link_from, show
from app.pages.visits import Visit

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)
_VERSIONS: Final[Versions[SavedMetric]] = Versions("metric", lambda metric: write_moment(metric.updated_at))

PAGE_ITEMS: Final = 50
_OFFERED: Final = {name: text for name, text in metrics.KINDS.items() if name not in metrics.OF_2022}
_KINDS: Final = metrics.in_words(_OFFERED, PERSONS)
_MATHS: Final = metrics.in_words(metrics.MATHS, PERSONS)
_ROW: Final = "m0_"


@router.get("/{project_id}/metrics/")
async def show_saved_metrics(request: Request, visit: VisitDep, offset: str = "") -> HTMLResponse:
    start = read_count(offset, 0, minimum=0)
    async with get_database(request).read() as session:
        count, listed = await build_saved_metrics(session, visit.project.id).page(PAGE_ITEMS, start)
    return await show(
        request,
        "saved_metrics.html",
        visit=visit,
        metrics=[(one, _KINDS.get(str(one.query.get("metric_type")), "")) for one in listed],
        count=count,
        offset=start,
        step=PAGE_ITEMS,
    )


@router.get("/{project_id}/metrics/new/")
async def show_new_saved_metric(request: Request, visit: ChangingVisitDep) -> HTMLResponse:
    return await _show(request, visit, {f"{_ROW}kind": "funnel", f"{_ROW}uuid": new_reference()})


@router.post("/{project_id}/metrics/new/")
async def create_saved_metric_by_form(request: Request, visit: ChangingVisitDep) -> Response:
    fields, errors = await read_form(request), dict[str, str]()
    document = await _check(fields, errors)
    if not errors:
        body = validate(SavedMetricCreate, document)
        async with get_database(request).write() as session:
            await build_saved_metrics(session, visit.project.id).create(body, visit.user)
        return back_to(request, visit, "show_saved_metrics")
    return await _show(request, visit, fields, errors, status=400)


@router.get("/{project_id}/metrics/{saved_metric_id}/")
async def show_saved_metric(request: Request, visit: ChangingVisitDep, saved_metric_id: str) -> HTMLResponse:
    metric = await _load(request, visit, saved_metric_id)
    return await _show(request, visit, _write(metric), metric=metric)


@router.post("/{project_id}/metrics/{saved_metric_id}/")
async def change_saved_metric(request: Request, visit: ChangingVisitDep, saved_metric_id: str) -> Response:
    fields, errors = await read_form(request), dict[str, str]()
    metric = await _load(request, visit, saved_metric_id)
    if fields.get("do") == "delete":
        return await _delete(request, visit, metric, fields)
    document = await _check(fields, errors, metric)
    if errors:
        return await _show(request, visit, fields, errors, metric=metric, status=400)
    try:
        body = validate(SavedMetricUpdate, document)
        async with get_database(request).write() as session:
            saved_metrics = build_saved_metrics(session, visit.project.id)
            await saved_metrics.update(await _VERSIONS.lock(saved_metrics, metric.id, fields), body)
    except Conflict as conflict:
        fields = {**fields, "seen": write_moment(metric.updated_at)}
        return await _show(request, visit, fields, {"form": conflict.detail}, metric=metric, status=conflict.status)
    except ValidationFailed as refusal:
        return await _show(request, visit, fields, {"form": refusal.detail}, metric=metric, status=400)
    return back_to(request, visit, "show_saved_metrics")


async def _delete(request: Request, visit: Visit, metric: SavedMetric, fields: Fields) -> Response:
    """Ask whether to delete a metric, and do so after the answer."""
    if fields.get("sure") != "yes":
        link, project_id = link_from(request), visit.project.id
        deletion = Deletion(
            "shared metric",
            metric.name,
            ["It is gone for good.", "A metric that an experiment counts is not deleted."],
            page=link("show_saved_metric", project_id=project_id, saved_metric_id=metric.id),
            listed_at=link("show_saved_metrics", project_id=project_id),
            list_title="Shared metrics",
        )
        return await ask_to_delete(request, visit, deletion, fields.get("seen", ""))
    try:
        async with get_database(request).write() as session:
            saved_metrics = build_saved_metrics(session, visit.project.id)
            await saved_metrics.delete(await _VERSIONS.lock_to_delete(saved_metrics, metric.id, fields))
    except (Conflict, ValidationFailed) as refusal:
        errors = {"form": refusal.detail}
        return await _show(request, visit, _write(metric), errors, metric=metric, status=refusal.status)
    return back_to(request, visit, "show_saved_metrics")


def _write(metric: SavedMetric) -> dict[str, str]:
    """Return the fields of a form that shows a metric."""
    written = {f"{_ROW}{name}": value for name, value in metrics.write_typed(metric.query).items()}
    own = {"name": metric.name, "description": metric.description or "", "seen": write_moment(metric.updated_at)}
    return {**written, **own}


async def _load(request: Request, visit: Visit, reference: str) -> SavedMetric:
    async with get_database(request).read() as session:
        return await build_saved_metrics(session, visit.project.id).get(reference)


async def _check(fields: Fields, errors: dict[str, str], stored: SavedMetric | None = None) -> dict[str, Any]:
    """Return the document of the form; what is wrong with it is added to the errors. What it keeps is as ``stored``."""
    row, form = Row(fields, _ROW, errors), Row(fields, "", errors)
    document: dict[str, Any] = {
        "name": form.required("name", "Give the metric a name."),
        "description": form.text("description") or None,
        "query": metrics.read_typed(row),
    }
    if stored is not None:
        document["name"] = keep_text(document["name"], stored.name)
        document["description"] = keep_text(document["description"], stored.description, lines=True)
        if metrics.try_to_write(metrics.write_typed, document["query"]) == metrics.write_typed(stored.query):
            document["query"] = metrics.without_fingerprint(stored.query)
    for refusal in find_refusals(SavedMetricCreate, document):
        _refuse(errors, refusal)
    try:
        await SavedMetricCreate.prepare(document)
    except ValidationFailed as refusal:
        _refuse(errors, refusal)
    return document


def _refuse(errors: dict[str, str], refusal: ValidationFailed) -> None:
    attr, _, place = (refusal.attr or "form").partition("__")
    errors.setdefault(f"{_ROW}{field_of_metric(place)}" if attr == "query" else attr, refusal.detail)


async def _show(
    request: Request,
    visit: Visit,
    fields: Fields,
    errors: Mapping[str, str] | None = None,
    *,
    metric: SavedMetric | None = None,
    status: int = 200,
) -> HTMLResponse:
    offered = await load_choices(request, visit)
    events: Sequence[str] = await EventUsageQueries(get_database(request), visit.project.id).names()
    return await show(
        request,
        "saved_metric.html",
        status,
        visit=visit,
        metric=metric,
        fields=fields,
        errors=errors or {},
        events=events,
        properties=offered.properties,
        kinds=_KINDS,
        unit=PERSONS,
        maths=_MATHS,
        max_steps=limits.FUNNEL_STEPS.value,
        row=_ROW,
    )
