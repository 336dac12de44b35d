"""The exposures of an experiment: an addition to the API of 2022."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.common import limits
from app.common.errors import ValidationFailed
from app.experiments.dependencies import DetachedExperimentDep
from app.experiments.exposures.dependencies import ExposuresDep
from app.experiments.exposures.responses import write_exposures
from app.experiments.exposures.schemas import ExposuresRead
from app.http.routing import answer_other_methods
from app.metrics.aggregation.calendar import INTERVALS

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments",
    tags=["Results"],
    dependencies=[require_scope("experiment", ANALYTICS)],
)


@router.get("/{experiment_id}/exposures/", summary="See who was exposed")
async def retrieve_exposures(
    request: Request,
    experiment: DetachedExperimentDep,
    exposures: ExposuresDep,
    interval: Annotated[
        str,
        Query(
            description="Length of the steps of `timeseries`: `hour`, `day`, `week` or `month`. There may be at most "
            f"{limits.BUCKETS.value:,}. Unless it is given, a longer one than a day is taken where there would be more."
        ),
    ] = "day",
) -> ExposuresRead:
    """Return how many persons were first shown each variant on each day, and how every exposure event was counted.

    Exposure is the event `$feature_flag_called` or `$experiment_exposure` of the experiment's flag, or what the
    experiment's `custom_exposure_filter` says. A person counts once, at the first exposure. Every event that was
    acknowledged before this request is included, and the sums in `accounting` add up.
    """
    known = next((known for known in INTERVALS if known == interval), None)
    if known is None:
        raise ValidationFailed(
            f"interval must be one of {', '.join(INTERVALS)}, got {interval[:100]!r}", attr="interval"
        )
    chosen = known if "interval" in request.query_params else None
    return write_exposures(await exposures.exposures(experiment, chosen))


answer_other_methods(router, Depends(get_project))
