"""Reading the activity log."""

from fastapi import APIRouter
from fastapi.params import Depends

from app.activity_log.schemas import ActivityRead
from app.common.ids import read_id
from app.db.models import ActivityEntry
from app.dependencies import (
    ActivityLogDep,
    ExperimentId,
    ExperimentViewsDep,
    FeatureFlagId,
    FlagsDep,
    admit,
    get_project,
)
from app.http.pagination import PaginationDep
from app.http.routing import answer_other_methods
from app.http.schemas import Page

router = APIRouter(prefix="/api/projects/{project_id}")


def _read(entry: ActivityEntry) -> ActivityRead:
    return ActivityRead.model_validate(
        {
            "id": entry.id,
            "activity": entry.activity,
            "scope": entry.scope,
            "item_id": str(entry.item_id),
            "user": entry.user,
            "detail": entry.detail,
            "created_at": entry.created_at,
        }
    )


@router.get(
    "/experiments/activity/",
    summary="List what happened to experiments",
    tags=["Experiments"],
    dependencies=[admit("experiment")],
)
async def list_experiments_activity(log: ActivityLogDep, pagination: PaginationDep) -> Page[ActivityRead]:
    """Return who changed which experiment and when, newest first, with deleted experiments."""
    count, entries = await log.page("Experiment", None, pagination.limit, pagination.offset)
    return pagination.page(count, [_read(entry) for entry in entries])


@router.get(
    "/experiments/{experiment_id}/activity/",
    summary="List what happened to an experiment",
    tags=["Experiments"],
    dependencies=[admit("experiment")],
)
async def list_experiment_activity(
    experiment_id: ExperimentId, log: ActivityLogDep, experiments: ExperimentViewsDep, pagination: PaginationDep
) -> Page[ActivityRead]:
    """Return who changed the experiment and when, newest first, with the fields before and after.

    A deleted experiment keeps its log. What was done to its flag stands in the flag's.
    """
    count, entries = await log.page("Experiment", read_id(experiment_id) or 0, pagination.limit, pagination.offset)
    if not count:
        await experiments.get(experiment_id)  # one from before there was a log has none, and others are not found
    return pagination.page(count, [_read(entry) for entry in entries])


@router.get(
    "/feature_flags/activity/",
    summary="List what happened to feature flags",
    tags=["Feature flags"],
    dependencies=[admit("feature_flag")],
)
async def list_feature_flags_activity(log: ActivityLogDep, pagination: PaginationDep) -> Page[ActivityRead]:
    """Return who changed which feature flag and when, newest first."""
    count, entries = await log.page("FeatureFlag", None, pagination.limit, pagination.offset)
    return pagination.page(count, [_read(entry) for entry in entries])


@router.get(
    "/feature_flags/{feature_flag_id}/activity/",
    summary="List what happened to a feature flag",
    tags=["Feature flags"],
    dependencies=[admit("feature_flag")],
)
async def list_feature_flag_activity(
    feature_flag_id: FeatureFlagId, log: ActivityLogDep, flags: FlagsDep, pagination: PaginationDep
) -> Page[ActivityRead]:
    """Return who changed the flag and when, newest first, with the fields before and after.

    What was done to it through its experiment is here too.
    """
    count, entries = await log.page(
        "FeatureFlag", (await flags.get(feature_flag_id)).id, pagination.limit, pagination.offset
    )
    return pagination.page(count, [_read(entry) for entry in entries])


answer_other_methods(router, Depends(get_project))
