"""Builds what leads the experiments of a project from phase to phase."""

from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep
from app.activity_log.dependencies import build_activity_log
from app.db.database import Database
from app.db.models import Project
from app.experiments.changes import ExperimentChanges
from app.experiments.counting.dependencies import build_counter, build_scorecard_counter
from app.experiments.existing_flags.dependencies import build_existing_flags
from app.experiments.health.definition import DefinitionChecker
from app.experiments.holdouts.dependencies import build_holdouts
from app.experiments.phases.checklist import LaunchChecklist
from app.experiments.phases.service import PhaseService
from app.experiments.phases.upkeep import PhaseUpkeep
from app.experiments.repository import ExperimentRepository
from app.experiments.results.dependencies import build_results
from app.experiments.saved_metrics.repository import SavedMetricRepository
from app.experiments.service import NOTHING_PREPARED, Prepared
from app.experiments.snapshots.repository import SnapshotRepository
from app.experiments.snapshots.service import SnapshotService, SnapshotTaker
from app.experiments.webhooks.outbox import Outbox
from app.experiments.webhooks.repository import WebhookRepository
from app.flags.dependencies import build_flags
from app.http.dependencies import SessionDep, get_database
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.service import MetricQueryBuilder


async def get_phases(project: ProjectDep, session: SessionDep) -> PhaseService:
    return build_phases(session, project.id)


async def get_phase_changes(request: Request, project: ProjectDep) -> ExperimentChanges[PhaseService]:
    return build_phase_changes(get_database(request), request.app.state.materializer, project)


async def get_launch_checklist(request: Request, project: ProjectDep) -> LaunchChecklist:
    return build_launch_checklist(get_database(request), project)


def build_launch_checklist(database: Database, project: Project) -> LaunchChecklist:
    queries = MetricQueryBuilder(database, project)
    return LaunchChecklist(database, project.id, DefinitionChecker(queries), queries)


def build_phases(session: AsyncSession, project_id: int, prepared: Prepared = NOTHING_PREPARED) -> PhaseService:
    return PhaseService(
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


def build_phase_changes(
    database: Database, materializer: Materializer, project: Project
) -> ExperimentChanges[PhaseService]:
    taker = SnapshotTaker(
        build_counter(database, materializer, project), build_results(database, materializer, project), project
    )
    return ExperimentChanges(
        database,
        lambda session, prepared: build_phases(session, project.id, prepared),
        taker,
        DefinitionChecker(MetricQueryBuilder(database, project)),
    )


def build_upkeep(database: Database, materializer: Materializer, project: Project) -> PhaseUpkeep:
    return PhaseUpkeep(
        database,
        build_phase_changes(database, materializer, project),
        build_scorecard_counter(database, materializer, project),
        project.id,
    )


PhasesDep = Annotated[PhaseService, Depends(get_phases)]
PhaseChangesDep = Annotated[ExperimentChanges[PhaseService], Depends(get_phase_changes)]
LaunchChecklistDep = Annotated[LaunchChecklist, Depends(get_launch_checklist)]
