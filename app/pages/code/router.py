"""The page with the code for an experiment's flag."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.flags.filters import variant_keys
from app.pages.code.snippets import write_snippets
from app.pages.credentials import PREFIX, public_address
from app.pages.dependencies import PageExperimentDep, VisitDep, load_group_type, load_unit_of
from app.pages.routing import PageRoute, show

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)


@router.get("/{project_id}/{experiment_id}/code/")
async def show_code(request: Request, visit: VisitDep, experiment: PageExperimentDep) -> HTMLResponse:
    flag, token = experiment.feature_flag, visit.project.api_token
    group_type = await load_group_type(request, visit.project, flag)
    snippets = write_snippets(public_address(request), token, flag.key, variant_keys(flag.filters), group_type)
    unit = await load_unit_of(request, visit.project, flag)
    return await show(request, "code.html", visit=visit, experiment=experiment, snippets=snippets, unit=unit)
