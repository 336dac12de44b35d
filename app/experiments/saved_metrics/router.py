"""The endpoints of saved metrics."""

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.params import Depends

from app.accounts.auth.dependencies import UserDep, get_project, require_scope
from app.accounts.idempotency.dependencies import ONCE, REUSED, KeyedRoute
from app.experiments.saved_metrics.dependencies import LockedSavedMetricDep, SavedMetricDep, SavedMetricsDep
from app.experiments.saved_metrics.schemas import SavedMetricCreate, SavedMetricRead, SavedMetricUpdate
from app.http.pagination import PaginationDep
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.http.schemas import Page

router = APIRouter(
    route_class=KeyedRoute,
    prefix="/api/projects/{project_id}/experiment_saved_metrics",
    tags=["Experiments"],
    dependencies=[require_scope("experiment")],
)


@router.get("/", summary="List saved metrics")
async def list_saved_metrics(metrics: SavedMetricsDep, pagination: PaginationDep) -> Page[SavedMetricRead]:
    """Return the project's saved metrics, newest first."""
    count, rows = await metrics.page(pagination.limit, pagination.offset)
    return pagination.page(count, [SavedMetricRead.model_validate(one) for one in rows])


@router.post("/", status_code=201, summary="Create a saved metric", responses=REUSED, dependencies=[ONCE])
async def create_saved_metric(
    user: UserDep, metrics: SavedMetricsDep, body: Annotated[SavedMetricCreate, body_of(SavedMetricCreate)]
) -> SavedMetricRead:
    """Create a metric that several experiments can count: they name its id in `saved_metrics_ids`."""
    return SavedMetricRead.model_validate(await metrics.create(body, user))


@router.get("/{saved_metric_id}/", summary="Retrieve a saved metric")
async def retrieve_saved_metric(metric: SavedMetricDep) -> SavedMetricRead:
    """Return one saved metric."""
    return SavedMetricRead.model_validate(metric)


@router.patch("/{saved_metric_id}/", summary="Change a saved metric")
async def update_saved_metric(
    metric: LockedSavedMetricDep,
    metrics: SavedMetricsDep,
    body: Annotated[SavedMetricUpdate, body_of(SavedMetricUpdate)],
) -> SavedMetricRead:
    """Change the fields that are sent. All experiments that name the metric count the changed one from now on."""
    return SavedMetricRead.model_validate(await metrics.update(metric, body))


@router.delete("/{saved_metric_id}/", status_code=204, summary="Delete a saved metric")
async def delete_saved_metric(metric: LockedSavedMetricDep, metrics: SavedMetricsDep) -> Response:
    """Delete a saved metric that no experiment names; of others the answer is a 400 that says which do."""
    await metrics.delete(metric)
    return Response(status_code=204)


answer_other_methods(router, Depends(get_project))
