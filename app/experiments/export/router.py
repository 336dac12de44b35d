"""The endpoint that writes an experiment's figures as a file: an addition to the API of 2022."""

from collections.abc import Sequence
from typing import Annotated, TypeVar, get_args

from fastapi import APIRouter, Query, Request
from fastapi.params import Depends
from fastapi.responses import StreamingResponse

from app.accounts.auth.dependencies import get_access, get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.accounts.auth.scopes import scope_for
from app.common.errors import ValidationFailed
from app.experiments.dependencies import DetachedExperimentDep
from app.experiments.export.dependencies import ExportsDep
from app.experiments.export.tables import COLUMNS, Table
from app.experiments.scorecard.steps import STEP_INTERVALS, read_interval
from app.http.files import MEDIA_TYPES, Format, stream_table
from app.http.routing import AnswersFiles, answer_other_methods

Choice = TypeVar("Choice", bound=str)

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments",
    tags=["Results"],
    dependencies=[require_scope("experiment", ANALYTICS)],
)


@router.get(
    "/{experiment_id}/export/",
    summary="Export an experiment's figures",
    response_class=StreamingResponse,
    dependencies=[Depends(AnswersFiles(MEDIA_TYPES))],
    responses={
        200: {
            "description": "The table, row by row.",
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        }
    },
)
async def export_experiment(
    request: Request,
    experiment: DetachedExperimentDep,
    exports: ExportsDep,
    format: Annotated[  # noqa: A002  # the documented name
        str | None,
        Query(description=f"{' or '.join(f'`{one}`' for one in get_args(Format))}; `csv` unless it is given."),
    ] = None,
    table: Annotated[
        str | None,
        Query(description=f"{', '.join(f'`{one}`' for one in COLUMNS)}; `results` unless it is given."),
    ] = None,
    metric: Annotated[str | None, Query(description="With `timeseries`: only this metric, by its `metric_id`.")] = None,
    interval: Annotated[
        str | None,
        Query(description=f"With `timeseries`: the steps, {', '.join(f'`{one}`' for one in STEP_INTERVALS)}."),
    ] = None,
    variant: Annotated[str | None, Query(description="With `participants`: only this variant, or `$multiple`.")] = None,
) -> StreamingResponse:
    """Return one of the experiment's tables as a file, a row for each variant, metric and day, or person.

    The columns are `experiment`, `metric`, `variant`, `n`, `sum`, `sum_squares`, effects with their intervals, p-values
    and `chance`, under the names of the first row. `participants` needs the scope `person:read` as well.
    Cells of CSV that a spreadsheet would take for a formula begin with an apostrophe.
    """
    kind, chosen = _choose("format", format, get_args(Format)), _choose("table", table, get_args(Table))
    _refuse_of_others(
        chosen, {"timeseries": {"metric": metric, "interval": interval}, "participants": {"variant": variant}}
    )
    if chosen == "participants":
        (await get_access(request)).require(scope_for("person", request.method))
    rows = await exports.table(experiment, chosen, metric_id=metric, interval=read_interval(interval), variant=variant)
    return stream_table(f"experiment-{experiment.id}-{chosen}", kind, COLUMNS[chosen], rows)


def _choose(name: str, text: str | None, choices: Sequence[Choice]) -> Choice:
    """Return the choice; the first one unless there is any."""
    found = next((one for one in choices if one == text), choices[0] if text is None else None)
    if found is None:
        raise ValidationFailed(f"{name} is one of {', '.join(choices)}, got {str(text)[:100]!r}", attr=name)
    return found


def _refuse_of_others(table: Table, parameters: dict[Table, dict[str, str | None]]) -> None:
    """Refuse parameters of other tables, which would have no effect."""
    for other, sent in parameters.items():
        for name, value in sent.items():
            if value is not None and other != table:
                raise ValidationFailed(f"{name} is for the table {other}", attr=name)


answer_other_methods(router, Depends(get_project))
