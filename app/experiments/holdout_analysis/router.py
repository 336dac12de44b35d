"""The analysis of a holdout: an addition to the API of 2022."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.common.errors import ValidationFailed
from app.experiments.holdout_analysis.dependencies import DetachedHoldoutDep, HoldoutAnalyzerDep
from app.experiments.holdout_analysis.schemas import HoldoutAnalysisRead
from app.http.routing import answer_other_methods

router = APIRouter(
    prefix="/api/projects/{project_id}/experiment_holdouts",
    tags=["Analysis"],
    dependencies=[require_scope("experiment", ANALYTICS)],
)


@router.get("/{holdout_id}/analysis/", summary="Analyze a holdout")
async def retrieve_holdout_analysis(
    holdout: DetachedHoldoutDep,
    analyzer: HoldoutAnalyzerDep,
    metric: Annotated[
        str | None,
        Query(
            description="The uuid of a typed metric of one of the holdout's experiments, or the id of a saved metric.",
            examples=["1"],
        ),
    ] = None,
) -> HoldoutAnalysisRead:
    """Return what all experiments of a holdout together changed, as of now.

    Persons who are held out are the baseline; `others` is everybody else who met a flag of the holdout, whatever they
    were shown, also nothing. Both count from their first contact with one of the flags on, while its experiment ran and
    the flag was on. The two differ in size: the test of the split expects the holdout's percentage.
    """
    if not metric:
        raise ValidationFailed("This field is required.", code="required", attr="metric")
    return await analyzer.analyze(holdout, metric)


answer_other_methods(router, Depends(get_project))
