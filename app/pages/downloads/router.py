"""The figures of an experiment as files, for the visitors of its pages."""

from fastapi import APIRouter, Request, Response

from app.common.errors import ValidationFailed
from app.experiments.export.dependencies import build_exports
from app.experiments.export.tables import COLUMNS, Table
from app.http.dependencies import get_database
from app.http.files import stream_table
from app.http.query_params import read_text
from app.pages.credentials import PREFIX
from app.pages.dependencies import PageExperimentDep, VisitDep, limit_page_time
from app.pages.routing import PageRoute

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)


@router.get("/{project_id}/{experiment_id}/download/")
async def download_figures(request: Request, visit: VisitDep, experiment: PageExperimentDep) -> Response:
    """Respond with a table as CSV, as `export/` of the API does."""
    asked = read_text(request.query_params.get("table", "results"))
    table: Table | None = next((one for one in COLUMNS if one == asked), None)
    if table is None:
        raise ValidationFailed(f"The tables are {', '.join(COLUMNS)}.", attr="table")
    if table == "participants":
        visit.access.require("person:read")
    exports = build_exports(get_database(request), request.app.state.materializer, visit.project)
    async with limit_page_time(request):
        rows = await exports.table(experiment, table)
    return stream_table(f"experiment-{experiment.id}-{table}", "csv", COLUMNS[table], rows)
