"""The engine for counts that come from anywhere."""

from typing import Annotated

from fastapi import APIRouter
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.analysis import service
from app.analysis.planning import plan
from app.analysis.schemas import AnalysisRead, AnalyzeRequest, PowerRead, PowerRequest
from app.http.request_body import body_of
from app.http.routing import answer_other_methods

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments",
    tags=["Analysis"],
    dependencies=[require_scope("experiment", action="read")],
)


@router.post("/analyze/", summary="Analyze counts", dependencies=[Depends(get_project)])
async def analyze_counts(body: Annotated[AnalyzeRequest, body_of(AnalyzeRequest)]) -> AnalysisRead:
    """Return what counts per variant say: who is best, by how much, and how sure that is. Nothing is stored.

    `metric_type` says what is counted. `funnel`: persons that converted and did not. `count`: events that happen
    independently of each other, and the exposure. `mean`: an amount per person, as number, sum and sum of squares.
    `ratio`: one amount by another. Conversions and counts have exact Beta and Gamma posteriors, means and ratios normal
    ones; nothing is sampled, and the same counts give the same digits.

    Beside the posterior every variant gets a classical interval and p-value, for a single look, and anytime-valid ones,
    for as many looks as you like. `significant` rests on the last ones unless `stats_config` says otherwise. With
    `expected_split` the split itself is tested.
    """
    return service.analyze(body)


@router.post("/power/", summary="Plan an experiment", dependencies=[Depends(get_project)])
async def plan_experiment(body: Annotated[PowerRequest, body_of(PowerRequest)]) -> PowerRead:
    """Return sample size, running time and smallest detectable effect, each from the others. Nothing is stored.

    For two groups of the same size and a two-sided test, whose power is the probability of finding an effect of the
    given size. With more than two `variants` each is compared with the baseline, without a correction.
    """
    return plan(body)


answer_other_methods(router, Depends(get_project))
