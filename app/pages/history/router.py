"""The activity of an experiment and of its flag, and its snapshots."""

import json
from typing import Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import JsonValue

from app.activity_log.dependencies import build_activity_log
from app.activity_log.schemas import read_entry
from app.db.models import Snapshot
from app.experiments.dependencies import get_experiment_changes
from app.experiments.service import ExperimentService
from app.experiments.snapshots.repository import SnapshotRepository
from app.experiments.snapshots.schemas import SnapshotContent
from app.experiments.snapshots.service import SnapshotService
from app.flags.filters import variants_of
from app.http.dependencies import get_database
from app.http.pagination import read_count
from app.pages.credentials import PREFIX
from app.pages.dependencies import ChangingVisitDep, PageExperimentDep, VisitDep
from app.pages.routing import PageRoute, link_from, show

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)

PAGE_ITEMS: Final = 30
_SNAPSHOTS: Final = 100
_SHOWN_CHARACTERS: Final = 120


@router.get("/{project_id}/{experiment_id}/history/")
async def show_history(
    request: Request, visit: VisitDep, experiment: PageExperimentDep, offset: str = "", of: str = ""
) -> HTMLResponse:
    project, start = visit.project, read_count(offset, 0, minimum=0)
    is_flag = of == "flag" and visit.may_see_flags
    async with get_database(request).read() as session:
        log = build_activity_log(session, project.id)
        count, entries = await (
            log.page("FeatureFlag", experiment.feature_flag_id, PAGE_ITEMS, start)
            if is_flag
            else log.page("Experiment", experiment.id, PAGE_ITEMS, start)
        )
        snapshots = SnapshotService(SnapshotRepository(session, project.id))
        _, taken = await snapshots.page(experiment.id, _SNAPSHOTS, 0)
    return await show(
        request,
        "history.html",
        visit=visit,
        experiment=experiment,
        timezone=ZoneInfo(project.timezone),
        entries=[read_entry(entry) for entry in entries],
        count=count,
        offset=start,
        step=PAGE_ITEMS,
        is_flag=is_flag,
        snapshots=taken,
        shorten=_shorten,
    )


@router.post("/{project_id}/{experiment_id}/history/")
async def take_snapshot_by_form(request: Request, visit: ChangingVisitDep, experiment: PageExperimentDep) -> Response:
    changes = await get_experiment_changes(request, visit.project)

    async def take(experiments: ExperimentService) -> Snapshot:
        held = await experiments.get(str(experiment.id), for_update=True)
        return await experiments.take_snapshot(held, "manual", visit.user)

    taken = await changes.make(take)
    places = {"project_id": visit.project.id, "experiment_id": experiment.id, "snapshot_id": taken.id}
    return RedirectResponse(link_from(request)("show_snapshot", **places), status_code=303)


@router.get("/{project_id}/{experiment_id}/history/{snapshot_id}/")
async def show_snapshot(
    request: Request, visit: VisitDep, experiment: PageExperimentDep, snapshot_id: str
) -> HTMLResponse:
    """Return the results as they were then; nothing is counted for it."""
    async with get_database(request).read() as session:
        snapshots = SnapshotService(SnapshotRepository(session, visit.project.id))
        snapshot = await snapshots.get(experiment.id, snapshot_id)
    content = SnapshotContent.model_validate_json(snapshot.content)
    variants = [str(variant.get("key")) for variant in variants_of(content.feature_flag.filters)]
    return await show(
        request,
        "snapshot.html",
        visit=visit,
        experiment=experiment,
        timezone=ZoneInfo(visit.project.timezone),
        snapshot=snapshot,
        content=content,
        colors={key: place for place, key in enumerate(variants)},
    )


def _shorten(value: JsonValue) -> str:
    """Return a value of a changed field in few characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
