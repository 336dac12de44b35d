"""The endpoints of holdouts."""

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.params import Depends

from app.accounts.auth.dependencies import UserDep, get_project, require_scope
from app.accounts.idempotency.dependencies import ONCE, REUSED, KeyedRoute
from app.experiments.holdouts.dependencies import HoldoutDep, HoldoutsDep, LockedHoldoutDep
from app.experiments.holdouts.schemas import HoldoutCreate, HoldoutRead, HoldoutUpdate
from app.http.pagination import PaginationDep
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.http.schemas import Page

router = APIRouter(
    route_class=KeyedRoute,
    prefix="/api/projects/{project_id}/experiment_holdouts",
    tags=["Experiments"],
    dependencies=[require_scope("experiment")],
)


@router.get("/", summary="List holdouts")
async def list_holdouts(holdouts: HoldoutsDep, pagination: PaginationDep) -> Page[HoldoutRead]:
    """Return the project's holdouts, newest first."""
    count, rows = await holdouts.page(pagination.limit, pagination.offset)
    return pagination.page(count, [HoldoutRead.model_validate(one) for one in rows])


@router.post("/", status_code=201, summary="Create a holdout", responses=REUSED, dependencies=[ONCE])
async def create_holdout(
    user: UserDep, holdouts: HoldoutsDep, body: Annotated[HoldoutCreate, body_of(HoldoutCreate)]
) -> HoldoutRead:
    """Create a holdout: a percentage of persons whom all experiments that name it in `holdout_id` keep out.

    SDKs hold the same persons out of every flag, and of holdouts of equal percentage: they hash the identifier alone.
    """
    return HoldoutRead.model_validate(await holdouts.create(body, user))


@router.get("/{holdout_id}/", summary="Retrieve a holdout")
async def retrieve_holdout(holdout: HoldoutDep) -> HoldoutRead:
    """Return one holdout."""
    return HoldoutRead.model_validate(holdout)


@router.patch("/{holdout_id}/", summary="Change a holdout")
async def update_holdout(
    holdout: LockedHoldoutDep,
    user: UserDep,
    holdouts: HoldoutsDep,
    body: Annotated[HoldoutUpdate, body_of(HoldoutUpdate)],
) -> HoldoutRead:
    """Change the fields that are sent. Another percentage is written into the flags of drafts.

    Once an experiment of the holdout was launched, the percentage cannot change: persons would move between the holdout
    and the variants.
    """
    return HoldoutRead.model_validate(await holdouts.update(holdout, body, user))


@router.delete("/{holdout_id}/", status_code=204, summary="Delete a holdout")
async def delete_holdout(holdout: LockedHoldoutDep, holdouts: HoldoutsDep) -> Response:
    """Delete a holdout that no experiment names; of others the answer is a 400 that says which do."""
    await holdouts.delete(holdout)
    return Response(status_code=204)


answer_other_methods(router, Depends(get_project))
