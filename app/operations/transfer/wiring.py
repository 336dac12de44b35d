"""Builds the services that imports and exports use."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.database import Database
from app.db.models import Project
from app.experiments.dependencies import build_experiments
from app.experiments.results.dependencies import build_results
from app.experiments.results.service import ResultsService
from app.flags.dependencies import build_flags
from app.metrics.facts.materializer import Materializer
from app.operations.transfer.experiments import ExperimentServices


def experiment_services(session: AsyncSession, project_id: int) -> ExperimentServices:
    return ExperimentServices(build_experiments(session, project_id), build_flags(session, project_id))


def results_of(database: Database, project: Project) -> ResultsService:
    return build_results(database, Materializer(database), project)
