"""The endpoints of the activity log of feature flags."""

from fastapi import APIRouter
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.activity_log.dependencies import ActivityLogDep
from app.activity_log.schemas import ActivityRead, read_entry
from app.flags.dependencies import FeatureFlagId, FlagsDep
from app.http.pagination import PaginationDep
from app.http.routing import answer_other_methods
from app.http.schemas import Page
from app.http.strictness import OF_2022

router = APIRouter(
    prefix="/api/projects/{project_id}/feature_flags",
    tags=["Feature flags"],
    dependencies=[require_scope("feature_flag"), OF_2022],
)


@router.get(
    "/activity/",
    summary="List the activity of feature flags",
)
async def list_feature_flags_activity(log: ActivityLogDep, pagination: PaginationDep) -> Page[ActivityRead]:
    """Return the changes of all feature flags with their users and times, newest first."""
    count, entries = await log.page("FeatureFlag", None, pagination.limit, pagination.offset)
    return pagination.page(count, [read_entry(entry) for entry in entries])


@router.get(
    "/{feature_flag_id}/activity/",
    summary="List the activity of a feature flag",
)
async def list_feature_flag_activity(
    feature_flag_id: FeatureFlagId, log: ActivityLogDep, flags: FlagsDep, pagination: PaginationDep
) -> Page[ActivityRead]:
    """Return the changes of a flag with their users and times, newest first, with the fields before and after.

    Changes that were made through the flag's experiment are included.
    """
    count, entries = await log.page(
        "FeatureFlag", (await flags.get(feature_flag_id)).id, pagination.limit, pagination.offset
    )
    return pagination.page(count, [read_entry(entry) for entry in entries])


answer_other_methods(router, Depends(get_project))
