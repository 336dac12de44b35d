"""The activity log of experiments."""

from fastapi import APIRouter
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.activity_log.dependencies import ActivityLogDep
from app.activity_log.schemas import ActivityRead, read_entry
from app.common.ids import read_id
from app.experiments.dependencies import ExperimentId, ExperimentViewsDep
from app.http.pagination import PaginationDep
from app.http.routing import answer_other_methods
from app.http.schemas import Page

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments", tags=["Experiments"], dependencies=[require_scope("experiment")]
)


@router.get(
    "/activity/",
    summary="List what happened to experiments",
)
async def list_experiments_activity(log: ActivityLogDep, pagination: PaginationDep) -> Page[ActivityRead]:
    """Return who changed which experiment and when, newest first, with deleted experiments."""
    count, entries = await log.page("Experiment", None, pagination.limit, pagination.offset)
    return pagination.page(count, [read_entry(entry) for entry in entries])


@router.get(
    "/{experiment_id}/activity/",
    summary="List what happened to an experiment",
)
async def list_experiment_activity(
    experiment_id: ExperimentId, log: ActivityLogDep, experiments: ExperimentViewsDep, pagination: PaginationDep
) -> Page[ActivityRead]:
    """Return who changed the experiment and when, newest first, with the fields before and after.

    A deleted experiment keeps its log. Changes of its flag are in the flag's log.
    """
    count, entries = await log.page("Experiment", read_id(experiment_id) or 0, pagination.limit, pagination.offset)
    if not count:
        await experiments.get(experiment_id)  # an experiment older than the log has no entries; an unknown id is a 404
    return pagination.page(count, [read_entry(entry) for entry in entries])


answer_other_methods(router, Depends(get_project))
