"""The exposures of an experiment: an addition to the API of 2022."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.common import limits
from app.common.errors import ValidationFailed
from app.experiments.dependencies import DetachedExperimentDep
from app.experiments.exposures.dependencies import ExposuresDep, TrafficSplitsDep
from app.experiments.exposures.responses import write_distributions, write_exposures
from app.experiments.exposures.schemas import DistributionRead, ExposuresRead
from app.http.routing import answer_other_methods
from app.metrics.aggregation.calendar import INTERVALS

_MOST_DISTRIBUTIONS = 200  # a few milliseconds of the event loop

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


@router.get("/{experiment_id}/distribution_history/", summary="See how the split changed")
async def list_distributions(experiment: DetachedExperimentDep, splits: TrafficSplitsDep) -> list[DistributionRead]:
    """Return how the experiment's flag assigned variants since it was created, oldest first.

    It comes from the activity log, which is never pruned. The test of the sample ratio expects of each variant the sum,
    over the phases while the experiment ran, of the persons first exposed in the phase times the variant's share then.
    A flag that is older than the log begins with the oldest split that is known. Of more than 200 changes, the last
    ones are returned.
    """
    return write_distributions((await splits.history(experiment))[-_MOST_DISTRIBUTIONS:])


answer_other_methods(router, Depends(get_project))
