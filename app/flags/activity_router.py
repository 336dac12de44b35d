"""Who changed which feature flag and when."""

from fastapi import APIRouter
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.activity_log.dependencies import ActivityLogDep
from app.activity_log.schemas import ActivityRead, read_entry
from app.flags.dependencies import FeatureFlagId, FlagsDep
from app.http.pagination import PaginationDep
from app.http.routing import answer_other_methods
from app.http.schemas import Page

router = APIRouter(
    prefix="/api/projects/{project_id}/feature_flags",
    tags=["Feature flags"],
    dependencies=[require_scope("feature_flag")],
)


@router.get(
    "/activity/",
    summary="List what happened to feature flags",
)
async def list_feature_flags_activity(log: ActivityLogDep, pagination: PaginationDep) -> Page[ActivityRead]:
    """Return who changed which feature flag and when, newest first."""
    count, entries = await log.page("FeatureFlag", None, pagination.limit, pagination.offset)
    return pagination.page(count, [read_entry(entry) for entry in entries])


@router.get(
    "/{feature_flag_id}/activity/",
    summary="List what happened to a feature flag",
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
    return pagination.page(count, [read_entry(entry) for entry in entries])


answer_other_methods(router, Depends(get_project))
