"""Builds what leads the experiments of a project from phase to phase."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Project
from app.experiments.changes import ExperimentChanges
from app.experiments.counting.dependencies import build_scorecard_counter
from app.experiments.dependencies import build_changes, build_service
from app.experiments.health.definition import DefinitionChecker
from app.experiments.phases.checklist import LaunchChecklist
from app.experiments.phases.service import PhaseService
from app.experiments.phases.upkeep import PhaseUpkeep
from app.http.dependencies import SessionDep, get_database
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.service import MetricQueryBuilder


async def get_phases(project: ProjectDep, session: SessionDep) -> PhaseService:
    return build_service(PhaseService, session, project.id)


async def get_phase_changes(request: Request, project: ProjectDep) -> ExperimentChanges[PhaseService]:
    return build_changes(PhaseService, get_database(request), request.app.state.materializer, project)


async def get_launch_checklist(request: Request, project: ProjectDep) -> LaunchChecklist:
    return build_launch_checklist(get_database(request), project)


def build_launch_checklist(database: Database, project: Project) -> LaunchChecklist:
    queries = MetricQueryBuilder(database, project)
    return LaunchChecklist(database, project.id, DefinitionChecker(queries), queries)


def build_upkeep(database: Database, materializer: Materializer, project: Project) -> PhaseUpkeep:
    return PhaseUpkeep(
        database,
        build_changes(PhaseService, database, materializer, project),
        build_scorecard_counter(database, materializer, project),
        project.id,
    )


PhasesDep = Annotated[PhaseService, Depends(get_phases)]
PhaseChangesDep = Annotated[ExperimentChanges[PhaseService], Depends(get_phase_changes)]
LaunchChecklistDep = Annotated[LaunchChecklist, Depends(get_launch_checklist)]
