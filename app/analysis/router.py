"""Endpoints that analyze counts and plan experiments from numbers in the request."""

from typing import Annotated

from fastapi import APIRouter
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.analysis import service
from app.analysis.count_schemas import AnalyzeRequest
from app.analysis.planning import plan
from app.analysis.planning_schemas import PowerRead, PowerRequest
from app.analysis.schemas import AnalysisRead
from app.common import limits
from app.http.request_body import body_of
from app.http.routing import answer_other_methods

_LIMIT = limits.ANALYZED_VARIANTS_BYTES.value

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments",
    tags=["Analysis"],
    dependencies=[require_scope("experiment", action="read")],
)


@router.post("/analyze/", summary="Analyze counts", dependencies=[Depends(get_project)])
async def analyze_counts(body: Annotated[AnalyzeRequest, body_of(AnalyzeRequest, limit=_LIMIT)]) -> AnalysisRead:
    """Analyze counts per variant: which one is best, by how much, and with what certainty. Nothing is stored.

    `metric_type` says what is counted. `funnel`: persons that converted and did not. `count`: events that happen
    independently of each other, and the exposure. `mean`: an amount per person, as number, sum and sum of squares.
    `ratio`: one amount divided by another. Conversions and counts have exact Beta and Gamma posteriors, means and
    ratios normal ones; nothing is sampled, and the same counts give the same digits.

    Besides the posterior, every variant gets a classical interval and p-value, valid for a single look, and
    anytime-valid ones, valid for any number of looks. `significant` is based on the anytime-valid ones unless
    `stats_config` says otherwise. With `expected_split` the samples are tested for a sample ratio mismatch.

    A mean may bring a covariate, each person's amount from before the exposure: means are then adjusted by it, with the
    same expected difference and a smaller variance (CUPED), and the covariate is tested for a difference that variants
    cannot have at that time.
    """
    return service.analyze(body)


@router.post("/power/", summary="Plan an experiment", dependencies=[Depends(get_project)])
async def plan_experiment(body: Annotated[PowerRequest, body_of(PowerRequest, limit=_LIMIT)]) -> PowerRead:
    """Compute sample size, running time and smallest detectable effect from one of them. Nothing is stored.

    The plan is for the rule that decides when the experiment is analyzed with the same `stats_config`: by default the
    anytime-valid one. Power is the probability that its verdict is significant when the planned samples are there;
    `single_look` has the smaller plan for an experiment that is looked at only once. With more than two `variants` each
    is compared with the baseline, by `multiple_testing` with or without a correction.
    """
    return plan(body)


answer_other_methods(router, Depends(get_project))
