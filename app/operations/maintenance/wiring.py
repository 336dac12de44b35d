"""Builds the maintenance of a project, and the erasure of its persons, outside requests."""

from app.db.database import Database
from app.db.models import Project
from app.experiments.exposures.dependencies import build_planner
from app.experiments.scorecard.counting import ScorecardCounter
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.service import MetricQueryBuilder
from app.operations.maintenance.erasure import ErasureService
from app.operations.maintenance.service import MaintenanceService


def build_maintenance(database: Database, materializer: Materializer, project: Project) -> MaintenanceService:
    facts, queries = FactService(database, materializer, project.id), MetricQueryBuilder(database, project)
    scorecards = ScorecardCounter(facts, queries, build_planner(database, project))
    return MaintenanceService(facts, queries, scorecards, materializer.failures)


def build_erasure(database: Database, materializer: Materializer, project: Project) -> ErasureService:
    return ErasureService(database, build_maintenance(database, materializer, project), project)
