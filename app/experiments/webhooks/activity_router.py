"""The activity log of webhooks. Its fixed path would also match a webhook's."""

from fastapi import APIRouter
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.activity_log.dependencies import ActivityLogDep
from app.activity_log.schemas import ActivityRead, read_entry
from app.http.pagination import PaginationDep
from app.http.routing import answer_other_methods
from app.http.schemas import Page

router = APIRouter(
    prefix="/api/projects/{project_id}/experiment_webhooks",
    tags=["Webhooks"],
    dependencies=[require_scope("webhook")],
)


@router.get("/activity/", summary="List what happened to webhooks")
async def list_webhooks_activity(log: ActivityLogDep, pagination: PaginationDep) -> Page[ActivityRead]:
    """Return who changed which webhook and when, newest first, with deleted webhooks."""
    count, entries = await log.page("Webhook", None, pagination.limit, pagination.offset)
    return pagination.page(count, [read_entry(entry) for entry in entries])


answer_other_methods(router, Depends(get_project))
