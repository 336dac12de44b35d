"""The documented experiment endpoints."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

import msgspec
from fastapi import APIRouter, Header, Query, Response
from fastapi.params import Depends

from app import openapi
from app.dependencies import (
    ExperimentId,
    ExperimentsDep,
    ExperimentViewsDep,
    LockedExperimentDep,
    UserDep,
    admit,
    get_project,
)
from app.errors import PreconditionFailed
from app.etags import entity_tag, is_match
from app.experiments.repository import ExperimentRecord, ExperimentSelection, Order, Status
from app.experiments.schemas import ExperimentCreate, ExperimentRead, ExperimentReplace, ExperimentUpdate
from app.models import Experiment
from app.pagination import PaginationDep
from app.parameters import read_text
from app.request_body import body_of
from app.routing import answer_other_methods
from app.schemas import Page
from app.types import read_id

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments", tags=["Experiments"], dependencies=[admit("experiment")]
)


_TAGGED: dict[str, Any] = {  # a piece of OpenAPI
    "headers": {"ETag": {"description": "Tells this state of the experiment.", "schema": {"type": "string"}}}
}
_CHANGED = {200: {"model": ExperimentRead, **_TAGGED}, **openapi.error_responses(412)}


def _read(record: ExperimentRecord) -> Mapping[str, object]:
    """Return what `ExperimentRead` documents. The documents pass through as text, as they were stored."""
    return {
        "id": record.id,
        "name": record.name,
        "description": record.description,
        "start_date": record.start_date,
        "end_date": record.end_date,
        "feature_flag_key": record.feature_flag_key,
        "feature_flag": record.feature_flag_id,
        "parameters": _pass(record.parameters),
        "secondary_metrics": _pass(record.secondary_metrics),
        "filters": _pass(record.filters),
        "archived": record.archived,
        "created_by": None if record.author_id is None else _read_author(record),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def _read_author(record: ExperimentRecord) -> Mapping[str, object]:
    return {
        "id": record.author_id,
        "uuid": record.author_uuid,
        "distinct_id": record.author_distinct_id,
        "first_name": record.author_first_name,
        "email": record.author_email,
    }


def _pass(document: str | None) -> msgspec.Raw | None:
    return None if document is None else msgspec.Raw(document.encode())


def _write(record: ExperimentRecord) -> bytes:
    return msgspec.json.encode(_read(record))


def _answer(record: ExperimentRecord, status_code: int = 200) -> Response:
    body = _write(record)
    return Response(body, status_code, {"ETag": entity_tag(body)}, media_type="application/json")


async def get_unchanged_experiment(
    experiment: LockedExperimentDep,
    experiments: ExperimentsDep,
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="An `ETag`: refuse the change with 412 if the experiment has another one by now.",
        ),
    ] = None,
) -> Experiment:
    """The experiment, held against other writers, if it still is what the client believes it to be."""
    if if_match is not None and not is_match(if_match, entity_tag(_write(await experiments.record(experiment)))):
        raise PreconditionFailed
    return experiment


UnchangedExperimentDep = Annotated[Experiment, Depends(get_unchanged_experiment)]


async def read_selection(
    status: Annotated[str | None, Query(description="`draft`, `running` or `complete`.", examples=["running"])] = None,
    archived: Annotated[str | None, Query(description="`true`: archived ones only; `false`: the others only.")] = None,
    search: Annotated[str | None, Query(description="Part of the name.", examples=["button"])] = None,
    created_by_id: Annotated[
        str | None, Query(description="Only those that this user created.", examples=["1"])
    ] = None,
    order: Annotated[
        str | None, Query(description=f"By {', '.join(f'`{name}`' for name in get_args(Order))}; descending with `-`.")
    ] = None,
) -> ExperimentSelection:
    """Read the filters of a list. What is not known is ignored, as it was when there were no filters."""
    field = (order or "").removeprefix("-")
    known = next((known for known in get_args(Order) if known == field), None)
    return ExperimentSelection(
        status=next((known for known in get_args(Status) if known == (status or "").lower()), None),
        is_archived={"true": True, "false": False}.get((archived or "").lower()),
        search=read_text(search),
        created_by_id=read_id(created_by_id) if created_by_id else None,
        **({} if known is None else {"order": known, "is_descending": field != order}),
    )


@router.get("/", summary="List experiments", response_class=Response, responses={200: {"model": Page[ExperimentRead]}})
async def list_experiments(
    experiments: ExperimentViewsDep,
    pagination: PaginationDep,
    selection: Annotated[ExperimentSelection, Depends(read_selection)],
) -> Response:
    """Return the project's experiments, newest first: drafts, running, ended and archived ones.

    What a filter does not know is ignored.
    """
    count, records = await experiments.page(selection, pagination.limit, pagination.offset)
    body = {
        "count": count,
        "next": pagination.next(count),
        "previous": pagination.previous(),
        "results": [_read(record) for record in records],
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


@router.post(
    "/", status_code=201, summary="Create an experiment", responses={201: {"model": ExperimentRead, **_TAGGED}}
)
async def create_experiment(
    user: UserDep,
    experiments: ExperimentsDep,
    body: Annotated[ExperimentCreate, body_of(ExperimentCreate)],
) -> Response:
    """Create an experiment together with the feature flag that splits its participants.

    Without variants in `parameters` the flag has `control` and `test`, half each. With a `start_date` the flag is
    active at once; without one the experiment is a draft.
    """
    experiment = await experiments.create(body, user)
    return _answer(await experiments.record(experiment), 201)


@router.get(
    "/{experiment_id}/", summary="Retrieve an experiment", responses={200: {"model": ExperimentRead, **_TAGGED}}
)
async def retrieve_experiment(experiment_id: ExperimentId, experiments: ExperimentViewsDep) -> Response:
    """Return one experiment. Its `ETag`, sent as `If-Match` with a change, tells whether it is still this one."""
    return _answer(await experiments.get(experiment_id))


@router.put("/{experiment_id}/", summary="Replace an experiment", responses=_CHANGED)
async def replace_experiment(
    experiment: UnchangedExperimentDep,
    experiments: ExperimentsDep,
    body: Annotated[ExperimentReplace, body_of(ExperimentReplace)],
) -> Response:
    """Change an experiment as PATCH does. Name and key have to be sent; other fields that are left out stay."""
    await experiments.update(experiment, body)
    return _answer(await experiments.record(experiment))


@router.patch("/{experiment_id}/", summary="Change an experiment", responses=_CHANGED)
async def update_experiment(
    experiment: UnchangedExperimentDep,
    experiments: ExperimentsDep,
    body: Annotated[ExperimentUpdate, body_of(ExperimentUpdate)],
) -> Response:
    """Change the fields that are sent; documents (`parameters`, `filters`, `secondary_metrics`) are replaced whole.

    The first `start_date` of a draft launches it: the flag becomes active. The flag's key and split cannot change here.
    With `If-Match` a change by somebody else meanwhile is noticed; without it the last one wins.
    """
    await experiments.update(experiment, body)
    return _answer(await experiments.record(experiment))


@router.delete(
    "/{experiment_id}/", status_code=204, summary="Delete an experiment", responses=openapi.error_responses(412)
)
async def delete_experiment(experiment: UnchangedExperimentDep, experiments: ExperimentsDep) -> Response:
    """Delete an experiment for good. Its flag is marked as deleted, and the key may be used again."""
    await experiments.delete(experiment)
    return Response(status_code=204)


answer_other_methods(router, Depends(get_project))
