"""Pages of experiments, and of lists of them. They are not part of the API or its OpenAPI document."""

from typing import Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.common.errors import NotFound
from app.pages import rendering
from app.pages.actions.catalog import describe_done
from app.pages.dependencies import (
    PageExperimentDep,
    PageExperimentsDep,
    PageHomeDep,
    PageProjectsDep,
    PagesDep,
    VerdictsDep,
    VisitDep,
    limit_page_time,
)
from app.pages.listing.selection import ARCHIVED, ORDERS, PAGE_ITEMS, STATUSES, read_list
from app.pages.routing import PageRoute, link_from, show

router = APIRouter(prefix="/experiments", include_in_schema=False, route_class=PageRoute)

_FOREVER: Final = "public, max-age=31536000, immutable"


@router.get("/assets/{version}/{name}/")
async def read_asset(request: Request, version: str, name: str) -> Response:
    """Return a script or the style sheet; under the URL of another version too, but then not cacheable."""
    asset = rendering.assets().get(name)
    if asset is None:
        raise NotFound
    headers = {"Cache-Control": _FOREVER if version == asset.version else "no-cache", "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(asset.body, media_type=asset.media_type, headers=headers)
    headers["Content-Encoding"] = "gzip"
    return Response(asset.compressed, media_type=asset.media_type, headers=headers)


@router.get("/")
async def open_experiments(request: Request, project: PageHomeDep) -> Response:
    """Redirect to the caller's own project."""
    return RedirectResponse(link_from(request)("show_experiments", project_id=project.id), status_code=303)


@router.get("/{project_id}/")
async def show_experiments(
    request: Request,
    visit: VisitDep,
    projects: PageProjectsDep,
    experiments: PageExperimentsDep,
    verdicts: VerdictsDep,
) -> HTMLResponse:
    asked, project = read_list(request.query_params), visit.project
    count, records = await experiments.page(asked.select(visit.user.id), PAGE_ITEMS, asked.offset)
    return await show(
        request,
        "experiments.html",
        visit=visit,
        project=project,
        timezone=ZoneInfo(project.timezone),
        projects=projects,
        experiments=records,
        verdicts=await verdicts.of(records),
        count=count,
        asked=asked,
        choices={"status": STATUSES, "order": ORDERS, "archived": ARCHIVED},
        step=PAGE_ITEMS,
        done=describe_done(request.query_params.get("done", "")),
    )


@router.get("/{project_id}/{experiment_id}/")
async def show_experiment(
    request: Request, visit: VisitDep, experiment: PageExperimentDep, pages: PagesDep
) -> HTMLResponse:
    async with limit_page_time(request):
        page = await pages.page(experiment)
    done = request.query_params.get("done", "")
    return HTMLResponse(await rendering.render_experiment(page, link_from(request), visit, done))
