"""The page that looks at an experiment as its visitor chooses."""

from collections.abc import Callable
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.common.errors import ValidationFailed
from app.db.models import Experiment
from app.experiments.compared_variants import compared_variants
from app.experiments.scorecard.breakdown_request import AskedBreakdown
from app.experiments.scorecard.breakdown_schemas import BreakdownRead
from app.experiments.scorecard.breakdowns import BreakdownService
from app.experiments.scorecard.dependencies import build_breakdowns, build_scorecards
from app.experiments.scorecard.experiment_metrics import metrics_of
from app.experiments.scorecard.schemas import MetricAnalysisRead
from app.flags.filters import group_type_index_of, variant_keys
from app.http.dependencies import get_database
from app.metrics.queries.breakdown import BREAKDOWN_TYPES, BROKEN_DOWN_BY
from app.pages import formatting, metric_texts
from app.pages.credentials import PREFIX
from app.pages.dependencies import PageExperimentDep, VisitDep, limit_page_time
from app.pages.exploring.lines import HEIGHT, LEFT, RIGHT, WIDTH, draw, points_of
from app.pages.exploring.selection import LEVELS, read_look
from app.pages.routing import PageRoute, show

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)


@router.get("/{project_id}/{experiment_id}/explore/")
async def explore_experiment(request: Request, visit: VisitDep, experiment: PageExperimentDep) -> HTMLResponse:
    database, materializer = get_database(request), request.app.state.materializer
    keys = variant_keys(experiment.feature_flag.filters)
    look = read_look(experiment, request.query_params)
    values: dict[str, object] = {
        "visit": visit,
        "experiment": experiment,
        "timezone": ZoneInfo(visit.project.timezone),
        "look": look,
        "metrics": {metric.id: metric.name for metric in metrics_of(experiment)},
        "variants": compared_variants(keys, experiment.stats_config),
        "levels": LEVELS,
        # Groups have no properties of a person.
        "types": ["event"] if group_type_index_of(experiment.feature_flag.filters) is not None else BREAKDOWN_TYPES,
        "ways": BROKEN_DOWN_BY,
        "colors": {key: place for place, key in enumerate(keys)},
        "asked": {name: request.query_params.get(name, "") for name in ("breakdown", "of", "by")},
        "size": (WIDTH, HEIGHT),
        "sides": (LEFT, RIGHT),
        "problem": look.problem,
    }
    if experiment.start_date is None:
        return await show(request, "explore.html", 200, **values, metric=None, problem_of_all="It is not launched yet.")
    experiment.stats_config = dict(look.stats_config)
    scorecards = build_scorecards(database, materializer, visit.project)
    broken_down = None
    try:
        async with limit_page_time(request):
            analysis = await scorecards.analysis(experiment)
            timeseries = await scorecards.timeseries(experiment, look.metric_id)
            if look.breakdown is not None:
                breakdowns = build_breakdowns(database, materializer, visit.project)
                broken_down = await _break_down(breakdowns, experiment, look.breakdown, values)
    except ValidationFailed as refusal:
        return await show(request, "explore.html", 200, **values, metric=None, problem_of_all=refusal.detail)
    metric = next(one for one in analysis.metrics if one.metric_id == look.metric_id)
    write = _writer(metric, is_absolute=look.is_absolute)
    points = points_of(timeseries, look.variant, is_absolute=look.is_absolute)
    return await show(
        request,
        "explore.html",
        200,
        **values,
        metric=metric,
        unit=analysis.unit,
        write=write,
        points=points,
        chart=draw(points, write),
        breakdown=broken_down,
        problem_of_all="",
    )


async def _break_down(
    breakdowns: BreakdownService, experiment: Experiment, asked: AskedBreakdown, values: dict[str, object]
) -> BreakdownRead | None:
    """Return the breakdown; where it is refused, the page says why and shows the rest."""
    try:
        return await breakdowns.break_down(experiment, asked.metric_id, asked.breakdown)
    except ValidationFailed as refusal:
        values["problem"] = refusal.detail
        return None


def _writer(metric: MetricAnalysisRead, *, is_absolute: bool) -> Callable[[float | None], str]:
    """Return what writes a difference: a change in percent, or an amount in the metric's unit with its sign."""
    if not is_absolute or metric.analysis is None:
        return formatting.format_change
    return metric_texts.choose_difference_format(metric.analysis)
