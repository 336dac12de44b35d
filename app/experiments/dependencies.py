"""Builds the experiments of a project, and their changes."""

from typing import Annotated, TypeVar

from fastapi import Depends, Path, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep
from app.activity_log.dependencies import build_activity_log
from app.common.errors import ValidationFailed
from app.db.database import Database
from app.db.models import Experiment, Project
from app.experiments.changes import ExperimentChanges
from app.experiments.counting.dependencies import build_counter
from app.experiments.existing_flags.dependencies import build_existing_flags
from app.experiments.health.definition import DefinitionChecker
from app.experiments.holdouts.dependencies import build_holdouts
from app.experiments.loading import ExperimentViews, load_detached_experiment
from app.experiments.repository import ExperimentQueries, ExperimentRepository
from app.experiments.results.dependencies import build_results
from app.experiments.saved_metrics.repository import SavedMetricRepository
from app.experiments.service import NOTHING_PREPARED, ExperimentService, Prepared
from app.experiments.snapshots.repository import SnapshotRepository
from app.experiments.snapshots.service import SnapshotService, SnapshotTaker
from app.experiments.webhooks.outbox import Outbox
from app.experiments.webhooks.repository import WebhookRepository
from app.flags.dependencies import build_flags
from app.http.dependencies import SessionDep, get_database
from app.http.fields import PathId
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.exposure_attribution import ATTRIBUTION, describe_unknown_attribution, read_attribution
from app.metrics.queries.service import MetricQueryBuilder

ServiceT = TypeVar("ServiceT", bound=ExperimentService)

ExperimentId = Annotated[PathId, Path(description="An experiment's id.")]


async def get_experiments(project: ProjectDep, session: SessionDep) -> ExperimentService:
    return build_experiments(session, project.id)


async def get_experiment_changes(request: Request, project: ProjectDep) -> ExperimentChanges[ExperimentService]:
    return build_changes(ExperimentService, get_database(request), request.app.state.materializer, project)


async def get_locked_experiment(experiment_id: ExperimentId, experiments: "ExperimentsDep") -> Experiment:
    """The experiment, locked against other writers until this request ends."""
    return await experiments.get(experiment_id, for_update=True)


def build_experiments(session: AsyncSession, project_id: int) -> ExperimentService:
    return build_service(ExperimentService, session, project_id)


def build_service(
    kind: type[ServiceT], session: AsyncSession, project_id: int, prepared: Prepared = NOTHING_PREPARED
) -> ServiceT:
    """Build what changes the experiments of a project, of one kind or another."""
    return kind(
        ExperimentRepository(session, project_id),
        SavedMetricRepository(session, project_id),
        build_holdouts(session, project_id),
        build_existing_flags(session, project_id),
        build_flags(session, project_id),
        SnapshotService(SnapshotRepository(session, project_id), prepared.snapshot),
        build_activity_log(session, project_id),
        Outbox(WebhookRepository(session, project_id)),
        prepared.checked,
    )


def build_changes(
    kind: type[ServiceT], database: Database, materializer: Materializer, project: Project
) -> ExperimentChanges[ServiceT]:
    """Build changes that take snapshots: they run longer than one transaction should, and open short ones."""
    taker = SnapshotTaker(
        build_counter(database, materializer, project), build_results(database, materializer, project), project
    )
    return ExperimentChanges(
        database,
        lambda session, prepared: build_service(kind, session, project.id, prepared),
        taker,
        DefinitionChecker(MetricQueryBuilder(database, project)),
    )


ExperimentsDep = Annotated[ExperimentService, Depends(get_experiments)]
ExperimentChangesDep = Annotated[ExperimentChanges[ExperimentService], Depends(get_experiment_changes)]
LockedExperimentDep = Annotated[Experiment, Depends(get_locked_experiment)]


async def get_experiment_views(request: Request, project: ProjectDep) -> ExperimentViews:
    return ExperimentViews(ExperimentQueries(get_database(request), project.id))


async def get_detached_experiment(request: Request, experiment_id: ExperimentId, project: ProjectDep) -> Experiment:
    """The experiment, outside any transaction: for work that takes longer than one should."""
    return await load_detached_experiment(ExperimentQueries(get_database(request), project.id), experiment_id)


ExperimentViewsDep = Annotated[ExperimentViews, Depends(get_experiment_views)]
DetachedExperimentDep = Annotated[Experiment, Depends(get_detached_experiment)]


async def get_attributed_experiment(
    experiment: DetachedExperimentDep,
    attribution: Annotated[
        str | None,
        Query(
            description="What tells the variant of the events of funnels and trends, for this one look: `events` "
            "(their property `$feature/<flag key>`) or `exposure`. Unless it is given, `parameters.attribution` of "
            "the experiment or `default_attribution` of the project decides.",
            examples=["exposure"],
        ),
    ] = None,
) -> Experiment:
    """The detached experiment, as if it asked for the attribution of the query."""
    if attribution is None:
        return experiment
    known = read_attribution(attribution)
    if known is None:
        raise ValidationFailed(describe_unknown_attribution(attribution), attr=ATTRIBUTION)
    parameters = experiment.parameters if isinstance(experiment.parameters, dict) else {}
    experiment.parameters = {**parameters, ATTRIBUTION: known}
    return experiment


AttributedExperimentDep = Annotated[Experiment, Depends(get_attributed_experiment)]
