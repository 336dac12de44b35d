"""Share links of an experiment, and the page that they show to people who are not signed in."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.accounts.auth import api_keys
from app.accounts.auth.dependencies import count_request
from app.accounts.auth.rate_limits import ANALYTICS
from app.common.errors import NotFound, ValidationFailed
from app.common.ids import read_id
from app.db.models import utc_now
from app.experiments.dependencies import build_experiments, get_detached_experiment
from app.experiments.share_links.dependencies import build_share_links
from app.experiments.share_links.repository import SharedExperimentRepository
from app.experiments.share_links.service import LIFETIMES
from app.http.dependencies import get_database
from app.pages import rendering
from app.pages.credentials import PREFIX, public_address
from app.pages.dependencies import ChangingVisitDep, PageExperimentDep, build_pages, limit_page_time
from app.pages.reading_forms import read_form
from app.pages.routing import PageRoute, link_from, show

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)


@router.get("/shared/")
async def show_shared_experiment(request: Request, token: str = "") -> HTMLResponse:  # none was sent
    """Return the page of the experiment that a link shows. The token is in the query, which is in no log."""
    database = get_database(request)
    async with database.read() as session:
        found = await SharedExperimentRepository(session).find(api_keys.digest(token), utc_now())
    if found is None:
        raise NotFound
    link, project = found
    count_request(request, ANALYTICS, ("share link", link.id), project.id)
    experiment = await get_detached_experiment(request, str(link.experiment_id), project)
    async with limit_page_time(request):
        page = await build_pages(database, request.app.state.materializer, project).page(experiment)
    return HTMLResponse(await rendering.render_experiment(page, link_from(request)))


@router.get("/{project_id}/{experiment_id}/share/")
async def show_share_links(request: Request, visit: ChangingVisitDep, experiment: PageExperimentDep) -> HTMLResponse:
    return await _show(request, visit, experiment)


@router.post("/{project_id}/{experiment_id}/share/")
async def create_share_link(request: Request, visit: ChangingVisitDep, experiment: PageExperimentDep) -> HTMLResponse:
    """Make a link and show it once: only its digest is stored."""
    days = (await read_form(request)).get("days", "")
    try:
        async with get_database(request).write() as session:
            held = await build_experiments(session, visit.project.id).get(str(experiment.id), for_update=True)
            links = build_share_links(session, visit.project.id)
            token = await links.create(held, read_id(days) or 0, visit.user)
    except ValidationFailed as refusal:
        return await _show(request, visit, experiment, problem=refusal.detail, status=400)
    prefix = link_from(request)("show_shared_experiment").removeprefix(request.scope.get("root_path", ""))
    return await _show(request, visit, experiment, made=f"{public_address(request)}{prefix}?token={token}")


@router.post("/{project_id}/{experiment_id}/share/{link_id}/revoke/")
async def revoke_share_link(
    request: Request, visit: ChangingVisitDep, experiment: PageExperimentDep, link_id: str
) -> Response:
    async with get_database(request).write() as session:
        await build_share_links(session, visit.project.id).revoke(experiment, link_id)
    address = link_from(request)("show_share_links", project_id=visit.project.id, experiment_id=experiment.id)
    return RedirectResponse(address, status_code=303)


async def _show(
    request: Request,
    visit: ChangingVisitDep,
    experiment: PageExperimentDep,
    *,
    made: str = "",
    problem: str = "",
    status: int = 200,
) -> HTMLResponse:
    async with get_database(request).read() as session:
        links = await build_share_links(session, visit.project.id).list_of(experiment)
    return await show(
        request,
        "share.html",
        status,
        visit=visit,
        experiment=experiment,
        links=links,
        made=made,
        problem=problem,
        lifetimes=LIFETIMES,
    )
