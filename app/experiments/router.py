"""The documented experiment endpoints."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, get_args

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi.params import Depends

from app.accounts.auth.dependencies import UserDep, get_project, require_scope
from app.common.ids import read_id
from app.db.models import Experiment, utc_now
from app.experiments.changes import ExperimentChanges
from app.experiments.dependencies import ExperimentChangesDep, ExperimentsDep, LockedExperimentDep
from app.experiments.lifecycle import Status
from app.experiments.loading import ExperimentId, ExperimentViewsDep
from app.experiments.repository import ExperimentRecord, ExperimentSelection, Order
from app.experiments.schemas import (
    ExperimentCreate,
    ExperimentDuplicate,
    ExperimentEnd,
    ExperimentRead,
    ExperimentReplace,
    ExperimentShip,
    ExperimentUpdate,
)
from app.experiments.service import ExperimentService
from app.http import openapi
from app.http.conditional_requests import IfMatch, answer, refuse_changed, tagged
from app.http.pagination import PaginationDep
from app.http.query_params import read_text
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.http.schemas import Page

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments", tags=["Experiments"], dependencies=[require_scope("experiment")]
)


_CHANGED = tagged(ExperimentRead) | openapi.error_responses(412)
_ALIASES = {"complete": "stopped"}  # as the frontend called it


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
        "status": record.status,
        "conclusion": record.conclusion,
        "conclusion_comment": record.conclusion_comment,
        "stats_config": _pass(record.stats_config),
        "decision_criteria": _pass(record.decision_criteria),
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


async def _answer(experiments: ExperimentService, experiment: Experiment) -> Response:
    return answer(_write(await experiments.record(experiment)))


async def get_unchanged_experiment(
    experiment: LockedExperimentDep, experiments: ExperimentsDep, if_match: IfMatch = None
) -> Experiment:
    """The experiment, held against other writers, if it still is what the client believes it to be."""
    if if_match is not None:
        refuse_changed(_write(await experiments.record(experiment)), if_match)
    return experiment


UnchangedExperimentDep = Annotated[Experiment, Depends(get_unchanged_experiment)]


class Change:
    """A change that may take several attempts, each in a transaction of its own, and how it is answered."""

    def __init__(self, reference: str, if_match: str | None, changes: ExperimentChanges) -> None:
        self._reference = reference
        self._if_match = if_match
        self._changes = changes

    async def make(self, apply: Callable[[ExperimentService, Experiment], Awaitable[None]]) -> Response:
        async def attempt(experiments: ExperimentService) -> Response:
            experiment = await experiments.get(self._reference, for_update=True)
            await get_unchanged_experiment(experiment, experiments, self._if_match)
            await apply(experiments, experiment)
            return await _answer(experiments, experiment)

        return await self._changes.make(attempt)


async def get_change(
    experiment_id: ExperimentId,
    experiments: ExperimentViewsDep,
    changes: ExperimentChangesDep,
    if_match: IfMatch = None,
) -> Change:
    """A change of an experiment that is there and unchanged so far: what is wrong with the body is told after that."""
    refuse_changed(_write(await experiments.get(experiment_id)), if_match)
    return Change(experiment_id, if_match, changes)


ChangeDep = Annotated[Change, Depends(get_change)]


async def read_selection(
    status: Annotated[
        str | None,
        Query(description="`draft`, `running`, `paused` or `stopped` (or `complete`, the same).", examples=["running"]),
    ] = None,
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
    named = _ALIASES.get((status or "").lower(), (status or "").lower())
    return ExperimentSelection(
        status=next((known for known in get_args(Status) if known == named), None),
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
    body = pagination.envelope(count, [_read(record) for record in records])
    return Response(msgspec.json.encode(body), media_type="application/json")


@router.post("/", status_code=201, summary="Create an experiment", responses=tagged(ExperimentRead, 201))
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
    return answer(_write(await experiments.record(experiment)), 201)


@router.get("/{experiment_id}/", summary="Retrieve an experiment", responses=tagged(ExperimentRead))
async def retrieve_experiment(experiment_id: ExperimentId, experiments: ExperimentViewsDep) -> Response:
    """Return one experiment. Its `ETag`, sent as `If-Match` with a change, tells whether it is still this one."""
    return answer(_write(await experiments.get(experiment_id)))


@router.put("/{experiment_id}/", summary="Replace an experiment", responses=_CHANGED)
async def replace_experiment(
    change: ChangeDep,
    user: UserDep,
    body: Annotated[ExperimentReplace, body_of(ExperimentReplace)],
) -> Response:
    """Change an experiment as PATCH does. Name and key have to be sent; other fields that are left out stay."""
    return await change.make(lambda experiments, experiment: experiments.update(experiment, body, user))


@router.patch("/{experiment_id}/", summary="Change an experiment", responses=_CHANGED)
async def update_experiment(
    change: ChangeDep,
    user: UserDep,
    body: Annotated[ExperimentUpdate, body_of(ExperimentUpdate)],
) -> Response:
    """Change the fields that are sent; documents (`parameters`, `filters`, `secondary_metrics`) are replaced whole.

    The first `start_date` of a draft launches it: the flag becomes active. The flag's key and split cannot change here.
    An `end_date` that is set or moved keeps a snapshot of the results, as `end/` does. Dates and `archived` may be set
    to anything, whatever the status: the actions are there for those who want to be told what makes no sense.
    With `If-Match` a change by somebody else meanwhile is noticed; without it the last one wins.
    """
    return await change.make(lambda experiments, experiment: experiments.update(experiment, body, user))


@router.delete(
    "/{experiment_id}/", status_code=204, summary="Delete an experiment", responses=openapi.error_responses(412)
)
async def delete_experiment(experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep) -> Response:
    """Delete an experiment for good, with its snapshots. Its flag is marked as deleted, and the key may be used again.

    Who deleted it, and what it was, stays in the activity log.
    """
    await experiments.delete(experiment, user)
    return Response(status_code=204)


@router.post("/{experiment_id}/launch/", summary="Launch an experiment", responses=_CHANGED)
async def launch_experiment(experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep) -> Response:
    """Start a draft now: events count from here on, and the flag becomes active. An end that was set is taken away.

    Refused with 400 and the code `invalid_state`, as every action that the status does not allow: unless it is a draft,
    not archived, whose flag is not deleted and has the variant `control` and at least one other.
    """
    await experiments.launch(experiment, user)
    return await _answer(experiments, experiment)


@router.post("/{experiment_id}/pause/", summary="Pause an experiment", responses=_CHANGED)
async def pause_experiment(experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep) -> Response:
    """Switch the flag of a running experiment off: nobody is exposed, while events go on counting."""
    await experiments.pause(experiment, user)
    return await _answer(experiments, experiment)


@router.post("/{experiment_id}/resume/", summary="Resume an experiment", responses=_CHANGED)
async def resume_experiment(experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep) -> Response:
    """Switch the flag of a paused experiment on again: everybody gets the variant that he had before."""
    await experiments.resume(experiment, user)
    return await _answer(experiments, experiment)


@router.post("/{experiment_id}/end/", summary="End an experiment", responses=_CHANGED)
async def end_experiment(
    change: ChangeDep,
    user: UserDep,
    body: Annotated[ExperimentEnd, body_of(ExperimentEnd)],
) -> Response:
    """End a running or paused experiment now: later events do not count. The flag is left as it is.

    The results are kept in a snapshot, which nothing changes any more: see `snapshots/`.
    """
    ended_at = utc_now()
    return await change.make(lambda experiments, experiment: experiments.end(experiment, body, ended_at, user))


@router.post("/{experiment_id}/ship_variant/", summary="Ship a variant", responses=_CHANGED)
async def ship_variant(
    change: ChangeDep,
    user: UserDep,
    body: Annotated[ExperimentShip, body_of(ExperimentShip)],
) -> Response:
    """Give everybody one variant, and end the experiment if it has not ended yet.

    The flag becomes active. Its variant gets 100 percent, and a release condition for everybody is put before the
    others, which stay. A snapshot keeps the results, and the flag as it was before.
    """
    shipped_at = utc_now()
    return await change.make(
        lambda experiments, experiment: experiments.ship_variant(experiment, body, shipped_at, user)
    )


@router.post("/{experiment_id}/reset/", summary="Reset an experiment", responses=_CHANGED)
async def reset_experiment(experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep) -> Response:
    """Make a launched experiment a draft again: dates, conclusion and `archived` are cleared.

    The flag is left as it is, active or not, and people keep seeing their variants. Events and snapshots stay too.
    """
    await experiments.reset(experiment, user)
    return await _answer(experiments, experiment)


@router.post("/{experiment_id}/archive/", summary="Archive an experiment", responses=_CHANGED)
async def archive_experiment(
    experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep
) -> Response:
    """Put an ended experiment away: `archived=false` leaves it out of lists."""
    await experiments.archive(experiment, user)
    return await _answer(experiments, experiment)


@router.post("/{experiment_id}/unarchive/", summary="Unarchive an experiment", responses=_CHANGED)
async def unarchive_experiment(
    experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep
) -> Response:
    """Take an archived experiment back into lists."""
    await experiments.unarchive(experiment, user)
    return await _answer(experiments, experiment)


@router.post(
    "/{experiment_id}/duplicate/",
    status_code=201,
    summary="Duplicate an experiment",
    responses=tagged(ExperimentRead, 201),
)
async def duplicate_experiment(
    experiment: LockedExperimentDep,
    user: UserDep,
    experiments: ExperimentsDep,
    body: Annotated[ExperimentDuplicate, body_of(ExperimentDuplicate)],
) -> Response:
    """Create a draft with the same metrics, variants and participants, and a flag of its own.

    Variants are those of `parameters`, as at creation, whatever has become of the flag since.
    """
    copy = await experiments.duplicate(experiment, body, user)
    return answer(_write(await experiments.record(copy)), 201)


answer_other_methods(router, Depends(get_project))
