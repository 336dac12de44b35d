"""The experiment endpoints of the API of 2022, and the actions."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, get_args

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.params import Depends

from app.accounts.auth.dependencies import UserDep, get_project, require_scope
from app.accounts.idempotency.dependencies import ONCE, REUSED, KeyedRoute
from app.common.errors import ValidationFailed
from app.common.ids import read_id
from app.db.models import Experiment, utc_now
from app.experiments.changes import ExperimentChanges
from app.experiments.copies import left_out_of_copy
from app.experiments.dependencies import (
    ExperimentChangesDep,
    ExperimentId,
    ExperimentsDep,
    ExperimentViewsDep,
    LockedExperimentDep,
)
from app.experiments.lifecycle import Status, allowed_actions
from app.experiments.phases.dependencies import LaunchChecklistDep
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
from app.http.conditional_requests import IfMatch, answer, entity_tag, refuse_changed, tagged
from app.http.pagination import PaginationDep
from app.http.query_params import read_text
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.http.schemas import Page
from app.http.strictness import OF_2022, report, report_unknown_values

router = APIRouter(
    route_class=KeyedRoute,
    prefix="/api/projects/{project_id}/experiments",
    tags=["Experiments"],
    dependencies=[require_scope("experiment")],
)


_CHANGED = tagged(ExperimentRead) | openapi.error_responses(412)
_ALL = "all"  # the statuses
_NULL = "null"
_BOOLEANS = {"true": True, "false": False}
_ALIASES = {"complete": "stopped"}  # as the frontend of 2022 called it


def _read(record: ExperimentRecord) -> Mapping[str, object]:
    """Return the fields of `ExperimentRead`. JSON documents are passed on as their stored text."""
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
        "metrics": _pass(record.metrics),
        "metrics_secondary": _pass(record.metrics_secondary),
        "exposure_criteria": _pass(record.exposure_criteria),
        "saved_metrics_ids": _pass(record.saved_metrics_ids),
        "only_count_matured_users": record.only_count_matured_users,
        "scheduling_config": _pass(record.scheduling_config),
        "circuit_breakers": _pass(record.circuit_breakers),
        "automatic_actions": _pass(record.automatic_actions),
        "exposure_freeze": _pass(record.exposure_freeze),
        "baseline_hold": _pass(record.baseline_hold),
        "holdout_id": record.holdout_id,
        "uses_existing_flag": record.uses_existing_flag,
        "variants": _pass("[]" if record.variants in {None, _NULL} else record.variants),
        "allowed_actions": allowed_actions(
            record.status,
            is_archived=record.archived,
            is_frozen=record.exposure_freeze is not None,
            is_held=record.baseline_hold is not None,
        ),
        "verdict": _pass(record.verdict),
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


def _tag(record: ExperimentRecord) -> str:
    """Return the tag of an experiment. Its verdict changes by itself, and is no change that `If-Match` looks for."""
    return entity_tag(_write(record._replace(verdict=None)), (record.verdict or "").encode())


async def answer_experiment(experiments: ExperimentService, experiment: Experiment, status_code: int = 200) -> Response:
    record = await experiments.record(experiment)
    return answer(_write(record), status_code, _tag(record))


async def get_unchanged_experiment(
    experiment: LockedExperimentDep, experiments: ExperimentsDep, if_match: IfMatch = None
) -> Experiment:
    """The experiment, locked against other writers; 412 if it does not match the client's `If-Match`."""
    if if_match is not None:
        refuse_changed(_tag(await experiments.record(experiment)), if_match)
    return experiment


UnchangedExperimentDep = Annotated[Experiment, Depends(get_unchanged_experiment)]


class Change:
    """A change that may take several attempts, each in a transaction of its own, and its response."""

    def __init__(self, reference: str, if_match: str | None, changes: ExperimentChanges[ExperimentService]) -> None:
        self._reference = reference
        self._if_match = if_match
        self._changes = changes

    async def make(self, apply: Callable[[ExperimentService, Experiment], Awaitable[None]]) -> Response:
        async def attempt(experiments: ExperimentService) -> Response:
            experiment = await experiments.get(self._reference, for_update=True)
            await get_unchanged_experiment(experiment, experiments, self._if_match)
            await apply(experiments, experiment)
            return await answer_experiment(experiments, experiment)

        return await self._changes.make(attempt)


async def get_change(
    experiment_id: ExperimentId,
    experiments: ExperimentViewsDep,
    changes: ExperimentChangesDep,
    if_match: IfMatch = None,
) -> Change:
    """A change of an experiment that exists and matches `If-Match`: both are checked before the body."""
    refuse_changed(_tag(await experiments.get(experiment_id)), if_match)
    return Change(experiment_id, if_match, changes)


ChangeDep = Annotated[Change, Depends(get_change)]


async def read_selection(
    request: Request,
    status: Annotated[
        str | None,
        Query(
            description="`draft`, `scheduled`, `running`, `paused`, `exposure_frozen` or `stopped` (or `complete`, the "
            "same).",
            examples=["running"],
        ),
    ] = None,
    archived: Annotated[
        str | None, Query(description="`true`: only archived experiments; `false`: only the others.")
    ] = None,
    search: Annotated[str | None, Query(description="Part of the name.", examples=["button"])] = None,
    created_by_id: Annotated[
        str | None, Query(description="Only experiments that this user created.", examples=["1"])
    ] = None,
    order: Annotated[
        str | None, Query(description=f"By {', '.join(f'`{name}`' for name in get_args(Order))}; descending with `-`.")
    ] = None,
) -> ExperimentSelection:
    """Read the filters of a list. Unknown values are ignored, as all were before there were filters, and reported."""
    field = (order or "").removeprefix("-")
    known = next((known for known in get_args(Order) if known == field), None)
    named = _ALIASES.get((status or "").lower(), (status or "").lower())
    selection = ExperimentSelection(
        status=next((known for known in get_args(Status) if known == named), None),
        is_archived=_BOOLEANS.get((archived or "").lower()),
        search=read_text(search),
        created_by_id=read_id(created_by_id) if created_by_id else None,
        **({} if known is None else {"order": known, "is_descending": field != order}),
    )
    ignored = {
        "status": None if selection.status or named == _ALL else status,
        "archived": archived if selection.is_archived is None else None,
        "created_by_id": created_by_id if selection.created_by_id is None else None,
        "order": order if known is None else None,
    }
    report_unknown_values(request, {name: value for name, value in ignored.items() if value})
    return selection


@router.get(
    "/",
    summary="List experiments",
    response_class=Response,
    responses={200: {"model": Page[ExperimentRead]}},
    dependencies=[OF_2022],
)
async def list_experiments(
    experiments: ExperimentViewsDep,
    pagination: PaginationDep,
    selection: Annotated[ExperimentSelection, Depends(read_selection)],
) -> Response:
    """Return the project's experiments, newest first: drafts, running, ended and archived ones.

    Unknown values of filters are ignored, and named in a `Warning` header.
    """
    count, records = await experiments.page(selection, pagination.limit, pagination.offset)
    body = pagination.envelope(count, [_read(record) for record in records])
    return Response(msgspec.json.encode(body), media_type="application/json")


@router.post(
    "/",
    status_code=201,
    summary="Create an experiment",
    responses=tagged(ExperimentRead, 201) | REUSED,
    dependencies=[OF_2022, ONCE],
)
async def create_experiment(
    user: UserDep,
    experiments: ExperimentsDep,
    body: Annotated[ExperimentCreate, body_of(ExperimentCreate)],
) -> Response:
    """Create an experiment together with the feature flag that splits its participants.

    Without variants in `parameters` the flag has `control` and `test`, 50 percent each. With a `start_date` the flag is
    active at once; without one the experiment is a draft.
    """
    return await answer_experiment(experiments, await experiments.create(body, user), 201)


@router.get(
    "/{experiment_id}/", summary="Retrieve an experiment", responses=tagged(ExperimentRead), dependencies=[OF_2022]
)
async def retrieve_experiment(experiment_id: ExperimentId, experiments: ExperimentViewsDep) -> Response:
    """Return one experiment. With its `ETag` as `If-Match`, a change is refused if another one came first."""
    record = await experiments.get(experiment_id)
    return answer(_write(record), tag=_tag(record))


@router.put("/{experiment_id}/", summary="Replace an experiment", responses=_CHANGED, dependencies=[OF_2022])
async def replace_experiment(
    change: ChangeDep,
    user: UserDep,
    body: Annotated[ExperimentReplace, body_of(ExperimentReplace)],
) -> Response:
    """Change an experiment as PATCH does. Name and key have to be sent; other fields that are left out stay."""
    return await change.make(lambda experiments, experiment: experiments.update(experiment, body, user))


@router.patch("/{experiment_id}/", summary="Change an experiment", responses=_CHANGED, dependencies=[OF_2022])
async def update_experiment(
    change: ChangeDep,
    user: UserDep,
    body: Annotated[ExperimentUpdate, body_of(ExperimentUpdate)],
) -> Response:
    """Change the fields that are sent; documents (`parameters`, `filters`, `secondary_metrics`) are replaced whole.

    The first `start_date` of a draft launches it: the flag becomes active. The flag's key and split cannot change here.
    Setting or moving an `end_date` stores a snapshot of the results so far, as `end/` does. The experiment is `running`
    until the `end_date`, and `scheduled` until the `start_date`. Dates and `archived` may be set to
    any value in any status; the actions (`launch/`, `end/` and the others) refuse what the status does not allow.
    With `If-Match` the change is refused if another client changed the experiment first; without it the last one wins.
    """
    return await change.make(lambda experiments, experiment: experiments.update(experiment, body, user))


@router.delete(
    "/{experiment_id}/",
    status_code=204,
    summary="Delete an experiment",
    responses=openapi.error_responses(412),
    dependencies=[OF_2022],
)
async def delete_experiment(experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep) -> Response:
    """Delete an experiment for good, with its snapshots. Its flag is marked as deleted, and the key may be used again.

    The activity log keeps who deleted it, and what it was.
    """
    await experiments.delete(experiment, user)
    return Response(status_code=204)


@router.post(
    "/{experiment_id}/launch/", summary="Launch an experiment", responses=_CHANGED | openapi.error_responses(409)
)
async def launch_experiment(
    experiment_id: ExperimentId,
    change: ChangeDep,
    user: UserDep,
    checklists: LaunchChecklistDep,
    checklist: Annotated[
        str | None,
        Query(description="`required`: refuse with 409 where `launch_checklist/` has something that is recommended."),
    ] = None,
) -> Response:
    """Start a draft or a scheduled experiment now: events count from here on, and the flag becomes active.

    An end date stays if it lies ahead, and is cleared otherwise.

    The experiment must be a draft that is not archived, whose flag is not deleted and has the variant `control` and at
    least one other. Otherwise the answer is 400 with the code `invalid_state`, as for every action that the status does
    not allow. Its metrics, its exposure and its settings must be valid: otherwise a 400 names everything that is not,
    as `health/` does for a draft. With a ramp in `scheduling_config` the rollout begins with its first step.
    """
    if checklist not in (None, "required"):
        raise ValidationFailed("checklist can only be required.", attr="checklist")
    if checklist is not None:
        await checklists.require(experiment_id)
    return await change.make(lambda experiments, experiment: experiments.launch(experiment, user))


@router.post("/{experiment_id}/pause/", summary="Pause an experiment", responses=_CHANGED)
async def pause_experiment(experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep) -> Response:
    """Switch the flag of a running experiment off: no person is exposed, while events still count."""
    await experiments.pause(experiment, user)
    return await answer_experiment(experiments, experiment)


@router.post("/{experiment_id}/resume/", summary="Resume an experiment", responses=_CHANGED)
async def resume_experiment(experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep) -> Response:
    """Switch the flag of a paused experiment on again: all persons get the same variants as before.

    Where a circuit breaker gave everyone the baseline, the flag serves its split again.
    """
    await experiments.resume(experiment, user)
    return await answer_experiment(experiments, experiment)


@router.post("/{experiment_id}/end/", summary="End an experiment", responses=_CHANGED)
async def end_experiment(
    change: ChangeDep,
    user: UserDep,
    body: Annotated[ExperimentEnd, body_of(ExperimentEnd)],
) -> Response:
    """End an experiment now: later events do not count. The flag is left as it is.

    An experiment whose end lies ahead ends at once. One that is scheduled ends before it has started.

    A snapshot keeps the results, and never changes: see `snapshots/`.
    """
    ended_at = utc_now()
    return await change.make(lambda experiments, experiment: experiments.end(experiment, body, ended_at, user))


@router.post("/{experiment_id}/ship_variant/", summary="Ship a variant", responses=_CHANGED)
async def ship_variant(
    change: ChangeDep,
    user: UserDep,
    body: Annotated[ExperimentShip, body_of(ExperimentShip)],
) -> Response:
    """Release one variant to everyone, and end the experiment if it has not ended yet.

    The flag becomes active. The variant gets 100 percent, and a release condition for everyone is put before the
    others, which stay. A snapshot keeps the results, and the flag as it was before.
    """
    shipped_at = utc_now()
    return await change.make(
        lambda experiments, experiment: experiments.ship_variant(experiment, body, shipped_at, user)
    )


@router.post("/{experiment_id}/reset/", summary="Reset an experiment", responses=_CHANGED)
async def reset_experiment(experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep) -> Response:
    """Make a launched experiment a draft again: dates, also scheduled ones, conclusion and `archived` are cleared.

    The flag is left as it is, active or not, and persons keep their variants. Events and snapshots stay too.
    """
    await experiments.reset(experiment, user)
    return await answer_experiment(experiments, experiment)


@router.post("/{experiment_id}/archive/", summary="Archive an experiment", responses=_CHANGED)
async def archive_experiment(
    experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep
) -> Response:
    """Archive an ended experiment: lists with `archived=false` leave it out."""
    await experiments.archive(experiment, user)
    return await answer_experiment(experiments, experiment)


@router.post("/{experiment_id}/unarchive/", summary="Unarchive an experiment", responses=_CHANGED)
async def unarchive_experiment(
    experiment: UnchangedExperimentDep, user: UserDep, experiments: ExperimentsDep
) -> Response:
    """Unarchive an experiment: lists with `archived=false` show it again."""
    await experiments.unarchive(experiment, user)
    return await answer_experiment(experiments, experiment)


@router.post(
    "/{experiment_id}/duplicate/",
    status_code=201,
    summary="Duplicate an experiment",
    responses=tagged(ExperimentRead, 201) | REUSED,
    dependencies=[ONCE],
)
async def duplicate_experiment(
    request: Request,
    experiment: LockedExperimentDep,
    user: UserDep,
    experiments: ExperimentsDep,
    body: Annotated[ExperimentDuplicate, body_of(ExperimentDuplicate)],
) -> Response:
    """Create a draft with the same metrics, variants, participants, ramp and circuit breakers, and a flag of its own.

    The variants come from `parameters`, as at creation, even if the flag was changed since. Circuit breakers are armed
    again. The times of the schedule are of one run; where there are any, a `Warning` header says that they were not
    copied. Snapshots, the conclusion, links, the log and a freeze stay with the original.
    """
    for text in left_out_of_copy(experiment):
        report(request, text)
    return await answer_experiment(experiments, await experiments.duplicate(experiment, body, user), 201)


answer_other_methods(router, Depends(get_project))
