"""Builds the services that imports and exports use."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.database import Database
from app.db.models import Project
from app.events.actions.repository import ActionRepository
from app.events.actions.service import ActionService
from app.experiments.dependencies import build_experiments
from app.experiments.holdouts.dependencies import build_holdouts
from app.experiments.results.dependencies import build_results
from app.experiments.saved_metrics.repository import SavedMetricRepository
from app.experiments.saved_metrics.service import SavedMetricService
from app.experiments.webhooks.dependencies import build_followed_flags
from app.metrics.facts.materializer import Materializer
from app.operations.transfer.definitions import DefinitionServices
from app.operations.transfer.experiments import ExperimentServices
from app.operations.transfer.exporting import ProjectExport
from app.people.cohorts.dependencies import build_cohorts


def experiment_services(session: AsyncSession, project_id: int) -> ExperimentServices:
    return ExperimentServices(
        build_experiments(session, project_id),
        build_followed_flags(session, project_id),
        definition_services(session, project_id),
    )


def definition_services(session: AsyncSession, project_id: int) -> DefinitionServices:
    return DefinitionServices(
        ActionService(ActionRepository(session, project_id)),
        build_cohorts(session, project_id),
        SavedMetricService(SavedMetricRepository(session, project_id)),
        build_holdouts(session, project_id),
    )


def export_of(database: Database, project: Project) -> ProjectExport:
    results = build_results(database, Materializer(database), project)
    return ProjectExport(database, project, results, definition_services)
