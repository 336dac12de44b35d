"""The launch checklist of an experiment, and the freeze of its exposure: additions to the API of 2022."""

from fastapi import APIRouter, Response
from fastapi.params import Depends

from app.accounts.auth.dependencies import UserDep, get_project, require_scope
from app.db.models import utc_now
from app.experiments.dependencies import DetachedExperimentDep, ExperimentId
from app.experiments.participants.dependencies import ParticipantsDep
from app.experiments.phases.dependencies import LaunchChecklistDep, PhaseChangesDep, PhasesDep
from app.experiments.phases.schemas import ChecklistItemRead, LaunchChecklistRead
from app.experiments.phases.service import PhaseService, refuse_to_freeze
from app.experiments.router import UnchangedExperimentDep, answer_experiment, get_unchanged_experiment
from app.experiments.schemas import ExperimentRead
from app.http import openapi
from app.http.conditional_requests import IfMatch, tagged
from app.http.routing import answer_other_methods

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments", tags=["Experiments"], dependencies=[require_scope("experiment")]
)

_CHANGED = tagged(ExperimentRead) | openapi.error_responses(412)


@router.get("/{experiment_id}/launch_checklist/", summary="See what is missing before the launch")
async def retrieve_launch_checklist(
    experiment: DetachedExperimentDep, checklists: LaunchChecklistDep
) -> LaunchChecklistRead:
    """Return what is done and what is missing before an experiment is launched, and what to do about it.

    Whether the flag is in the code is told by the newest 10,000 events that report an evaluation.
    """
    items = await checklists.of(experiment)
    return LaunchChecklistRead(
        is_ready=all(item.state == "done" or item.level != "critical" for item in items),
        items=[ChecklistItemRead.model_validate(item) for item in items],
    )


@router.post("/{experiment_id}/freeze_exposure/", summary="Freeze the exposure", responses=_CHANGED)
async def freeze_exposure(
    experiment_id: ExperimentId,
    experiment: DetachedExperimentDep,
    user: UserDep,
    participants: ParticipantsDep,
    changes: PhaseChangesDep,
    if_match: IfMatch = None,
) -> Response:
    """Keep a running experiment to the persons who were exposed: they keep their variants, and no others get one.

    The persons become a static cohort, which every release condition of the flag asks for from then on. The status is
    `exposure_frozen`. Not for flags that assign groups or have a holdout.
    """
    refuse_to_freeze(experiment)
    frozen_at = utc_now()
    distinct_ids = await participants.exposed_distinct_ids(experiment)

    async def attempt(phases: PhaseService) -> Response:
        locked = await phases.get(experiment_id, for_update=True)
        await get_unchanged_experiment(locked, phases, if_match)
        await phases.freeze(locked, distinct_ids, frozen_at, user)
        return await answer_experiment(phases, locked)

    return await changes.make(attempt)


@router.post("/{experiment_id}/unfreeze_exposure/", summary="Unfreeze the exposure", responses=_CHANGED)
async def unfreeze_exposure(experiment: UnchangedExperimentDep, user: UserDep, phases: PhasesDep) -> Response:
    """Restore the release conditions of the flag as they were before the exposure was frozen.

    What was changed of them since stays, without the cohort. The cohort itself is kept.
    """
    await phases.unfreeze(experiment, user)
    return await answer_experiment(phases, experiment)


answer_other_methods(router, Depends(get_project))
