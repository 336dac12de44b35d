"""The results endpoints of the API of 2022."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.params import Depends
from pydantic import JsonValue, WithJsonSchema

from app.accounts.auth.dependencies import get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.common.errors import ValidationFailed
from app.common.storable_json import is_storable_json
from app.db.models import Experiment
from app.experiments.dependencies import AttributedExperimentDep
from app.experiments.health.dependencies import HealthDep
from app.experiments.health.service import HealthService
from app.experiments.results.dependencies import ResultsDep, SharedCountsDep
from app.experiments.results.examples import FUNNEL_RESULTS_EXAMPLE, TREND_RESULTS_EXAMPLE
from app.experiments.results.explanation import explain as describe
from app.experiments.results.health_summary import HealthSummaryRead
from app.experiments.results.responses import FunnelAnswer, ResultsAnswer, TrendAnswer
from app.experiments.results.schemas import (
    FlagImplementationRead,
    FunnelResultsRead,
    SecondaryResultsRead,
)
from app.experiments.results.service import judge, name_place_of_others
from app.experiments.results.target import CountedTarget
from app.http import openapi
from app.http.request_body import read_document
from app.http.routing import answer_other_methods
from app.http.strictness import OF_2022

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments",
    tags=["Results"],
    dependencies=[require_scope("experiment", ANALYTICS), OF_2022],
)


def _with_additions(kind: str, example: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {**example, "kind": kind, "health": {"status": "healthy", "findings": []}, "explain": None}


_RESULTS: dict[int | str, dict[str, Any]] = {  # a piece of OpenAPI
    200: {
        "description": "The counts and the verdict, in the form of the metric.",
        "content": {
            "application/json": {
                "examples": {
                    "funnel": {
                        "summary": "Funnel: conversions per variant",
                        "value": _with_additions("funnel", FUNNEL_RESULTS_EXAMPLE),
                    },
                    "trend": {
                        "summary": "Trend: events per variant",
                        "value": _with_additions("trend", TREND_RESULTS_EXAMPLE),
                    },
                }
            }
        },
    }
}


@router.get("/requires_flag_implementation/", summary="See whether the flag is in the code")
async def check_flag_implementation(
    request: Request,
    results: ResultsDep,
    events: Annotated[str | None, Query(description='Events of the metric, as JSON: `[{"id": "$pageview"}]`.')] = None,
    actions: Annotated[str | None, Query(description="Actions of the metric, as JSON.")] = None,
    properties: Annotated[str | None, Query(description="JSON that must be valid, and has no effect.")] = None,
) -> FlagImplementationRead:
    """Return true, a warning, when no event of the last seven days carries a flag's variant (`$feature/...`).

    In a project whose `default_attribution` is `exposure`, events do not have to: it is a warning when no exposure
    (`$feature_flag_called` or `$experiment_exposure`) arrived. The newest 10,000 events of each name are checked.
    """
    _refuse_unparsable(properties, "Properties are unparsable!", None)
    body = await read_document(request)
    query: dict[str, JsonValue] = {}
    for key, value in (("events", events), ("actions", actions)):
        query[key] = body.get(key) if value is None and isinstance(body, dict) else value
        _refuse_unparsable(query[key], "Value must be valid JSON.", key)
    return FlagImplementationRead(result=await results.requires_flag_implementation(query))


@router.get("/{experiment_id}/results/", summary="Get the verdict", response_model=ResultsAnswer, responses=_RESULTS)
async def retrieve_results(
    experiment: AttributedExperimentDep,
    results: ResultsDep,
    health: HealthDep,
    shared: SharedCountsDep,
    refresh: Annotated[
        str | None,
        Query(description="`true`: recount all events instead of adding the new ones. The results are the same."),
    ] = None,
    explain: Annotated[
        str | None,
        Query(
            description="`true`: add `explain`, the counts per variant and what is missing. Error bodies have it too."
        ),
    ] = None,
) -> Response:
    """Return the counts of the target metric per variant and the Bayesian verdict on them, as of now.

    The counts include every event that was acknowledged before this request. They cover the experiment's window, from
    its start to its end (or now), both included to the second.

    `probability` is the posterior probability that each variant is the best, from an uninformative prior; the
    probabilities add up to 1. `credible_intervals` hold each variant's rate with 95 % probability. `significance_code`
    says whether the data suffice for a decision, and if not, what is missing. A draft has no results, nor has an
    experiment without data of `control` or of any other variant: the answer is a 400 whose `detail` says why.

    `health` reports what is wrong with the experiment itself.
    """
    is_explained, recompute = explain == "true", refresh == "true"

    async def answer() -> bytes:
        target = await results.target(experiment, recompute=recompute)
        return (await _answer(experiment, target, health, is_explained=is_explained)).model_dump_json().encode()

    kind = f"results {is_explained} {health.uncounted(experiment)!r}"
    if recompute:
        body = await shared.result(f"recomputed {kind}", experiment, answer)
    else:
        body = await shared.kept_result(kind, experiment, answer)
    return Response(body, media_type="application/json")


async def _answer(
    experiment: Experiment, target: CountedTarget, health: HealthService, *, is_explained: bool
) -> FunnelAnswer | TrendAnswer:
    explanation = describe(target) if is_explained else None
    try:
        verdict = judge(target)
    except ValidationFailed as refusal:
        if explanation is None:
            raise
        extra = {"explain": explanation.model_dump(mode="json")}
        raise ValidationFailed(refusal.detail, code=refusal.code, attr=refusal.attr, extra=extra) from refusal
    report = await health.report_on_target(experiment, target)
    summary = HealthSummaryRead.model_validate(report)
    if isinstance(verdict, FunnelResultsRead):
        return FunnelAnswer(**dict(verdict), kind="funnel", health=summary, explain=explanation)
    return TrendAnswer(**dict(verdict), kind="trend", health=summary, explain=explanation)


@router.get("/{experiment_id}/secondary_results/", summary="Get a secondary metric")
async def retrieve_secondary_results(
    request: Request,
    experiment: AttributedExperimentDep,
    results: ResultsDep,
    id: Annotated[  # noqa: A002  # the documented name
        str | None,
        WithJsonSchema({"type": "integer", "minimum": 0, "examples": [0], openapi.REQUIRED: True}),
        Query(description="Index of the metric in `secondary_metrics`, from 0."),
    ] = None,
) -> SecondaryResultsRead:
    """Return one figure per variant for a secondary metric; variants without data are absent.

    For a trend it is the total over the experiment's window, for a funnel the share of persons who reached its last
    step. There is no verdict on secondary metrics.
    """
    if not experiment.secondary_metrics:
        raise ValidationFailed(f"Experiment has no secondary metrics{name_place_of_others(experiment)}")
    given = request.query_params.getlist("id")
    if id is None or not given[-1]:
        raise ValidationFailed("Secondary metric id is required")
    try:
        index = int(given[-1])
    except ValueError as error:
        raise ValidationFailed("Secondary metric id must be an integer") from error
    return SecondaryResultsRead(result=await results.secondary_results(experiment, index))


def _refuse_unparsable(value: JsonValue, detail: str, attr: str | None) -> None:
    try:
        document = json.loads(value or "null") if isinstance(value, str | None) else value
    except (ValueError, RecursionError) as error:
        raise ValidationFailed(detail, attr=attr) from error
    if not is_storable_json(document):
        raise ValidationFailed(detail, attr=attr)


answer_other_methods(router, Depends(get_project))
