"""The documented experiment endpoints."""

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.params import Depends

from app.dependencies import ExperimentsDep, LockedExperimentDep, ProjectDep, UserDep, get_experiment, get_project
from app.experiments.schemas import ExperimentCreate, ExperimentRead, ExperimentUpdate
from app.models import Experiment
from app.pagination import PaginationDep
from app.projects.schemas import UserBasic
from app.request_body import body_of
from app.routing import refuse_other_methods
from app.schemas import Page

router = APIRouter(prefix="/api/projects/{project_id}/experiments", tags=["Experiments"])


def _read(experiment: Experiment) -> ExperimentRead:
    return ExperimentRead(
        id=experiment.id,
        name=experiment.name,
        description=experiment.description,
        start_date=experiment.start_date,
        end_date=experiment.end_date,
        feature_flag_key=experiment.feature_flag.key,
        feature_flag=experiment.feature_flag_id,
        parameters=experiment.parameters,
        secondary_metrics=experiment.secondary_metrics,
        filters=experiment.filters,
        archived=experiment.archived,
        created_by=UserBasic.model_validate(experiment.created_by) if experiment.created_by else None,
        created_at=experiment.created_at,
        updated_at=experiment.updated_at,
    )


@router.get("/", summary="List experiments")
async def list_experiments(experiments: ExperimentsDep, pagination: PaginationDep) -> Page[ExperimentRead]:
    """Return the project's experiments, newest first: drafts, running, ended and archived ones."""
    count, rows = await experiments.page(pagination.limit, pagination.offset)
    return Page[ExperimentRead](
        count=count,
        next=pagination.next(count),
        previous=pagination.previous(),
        results=[_read(experiment) for experiment in rows],
    )


@router.post("/", status_code=201, summary="Create an experiment")
async def create_experiment(
    user: UserDep,
    experiments: ExperimentsDep,
    body: Annotated[ExperimentCreate, body_of(ExperimentCreate)],
) -> ExperimentRead:
    """Create an experiment together with the feature flag that splits its participants.

    Without variants in `parameters` the flag has `control` and `test`, half each. With a `start_date` the flag is
    active at once; without one the experiment is a draft.
    """
    return _read(await experiments.create(body, user))


@router.get("/{experiment_id}/", summary="Retrieve an experiment")
async def retrieve_experiment(experiment: Annotated[Experiment, Depends(get_experiment)]) -> ExperimentRead:
    """Return one experiment."""
    return _read(experiment)


@router.patch("/{experiment_id}/", summary="Change an experiment")
async def update_experiment(
    experiment: LockedExperimentDep,
    experiments: ExperimentsDep,
    body: Annotated[ExperimentUpdate, body_of(ExperimentUpdate)],
) -> ExperimentRead:
    """Change the fields that are sent; documents (`parameters`, `filters`, `secondary_metrics`) are replaced whole.

    The first `start_date` of a draft launches it: the flag becomes active. The flag's key and split cannot change here.
    """
    return _read(await experiments.update(experiment, body))


@router.delete("/{experiment_id}/", status_code=204, summary="Delete an experiment")
async def delete_experiment(
    experiment: LockedExperimentDep, experiments: ExperimentsDep, _project: ProjectDep
) -> Response:
    """Delete an experiment for good. Its flag is marked as deleted, and the key may be used again."""
    await experiments.delete(experiment)
    return Response(status_code=204)


refuse_other_methods(router, Depends(get_project))
