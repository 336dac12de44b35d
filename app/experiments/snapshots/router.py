"""Endpoints that read and take snapshots."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Response
from fastapi.params import Depends

from app.accounts.auth.dependencies import UserDep, get_project, require_scope
from app.accounts.users import UserBasic
from app.common.timestamps import write_moment
from app.db.models import Snapshot, User
from app.experiments.dependencies import DetachedExperimentDep, ExperimentChangesDep
from app.experiments.service import ExperimentService
from app.experiments.snapshots.dependencies import SnapshotsDep
from app.experiments.snapshots.schemas import SnapshotRead
from app.http.fields import PathId
from app.http.pagination import PaginationDep
from app.http.routing import answer_other_methods
from app.http.schemas import Page

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments/{experiment_id}/snapshots",
    tags=["Results"],
    dependencies=[require_scope("experiment")],
)


def _read(snapshot: Snapshot, created_by: User | None) -> dict[str, object]:
    """Return the fields of `SnapshotRead`. The content is passed on as its stored text."""
    return {
        "id": snapshot.id,
        "trigger": snapshot.trigger,
        "created_at": write_moment(snapshot.created_at),
        "created_by": UserBasic.model_validate(created_by).model_dump(mode="json") if created_by else None,
        **msgspec.json.decode(snapshot.content, type=dict[str, msgspec.Raw]),
    }


def _answer(body: object, status_code: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status_code, media_type="application/json")


@router.get("/", summary="List snapshots", response_class=Response, responses={200: {"model": Page[SnapshotRead]}})
async def list_snapshots(
    experiment: DetachedExperimentDep, snapshots: SnapshotsDep, pagination: PaginationDep
) -> Response:
    """Return the snapshots of the experiment's results, newest first.

    A snapshot is taken when the experiment ends, in the same transaction, and when a variant is shipped. Late events,
    changes and resets do not affect it; only deleting the experiment removes it.
    """
    count, found = await snapshots.page(experiment.id, pagination.limit, pagination.offset)
    return _answer(pagination.envelope(count, [_read(snapshot, snapshot.created_by) for snapshot in found]))


@router.post("/", status_code=201, summary="Take a snapshot", responses={201: {"model": SnapshotRead}})
async def take_snapshot(experiment: DetachedExperimentDep, user: UserDep, changes: ExperimentChangesDep) -> Response:
    """Store the results as they are now. A draft has none: 400 with the code `invalid_state`."""

    async def take(experiments: ExperimentService) -> Snapshot:
        held = await experiments.get(str(experiment.id), for_update=True)
        return await experiments.take_snapshot(held, "manual", user)

    return _answer(_read(await changes.make(take), user), 201)


@router.get(
    "/{snapshot_id}/", summary="Retrieve a snapshot", response_class=Response, responses={200: {"model": SnapshotRead}}
)
async def retrieve_snapshot(
    experiment: DetachedExperimentDep,
    snapshot_id: Annotated[PathId, Path(description="A snapshot's id.")],
    snapshots: SnapshotsDep,
) -> Response:
    """Return one snapshot: the definition of experiment and flag, and all results, as they were then."""
    snapshot = await snapshots.get(experiment.id, snapshot_id)
    return _answer(_read(snapshot, snapshot.created_by))


answer_other_methods(router, Depends(get_project))
