"""Builds the maintenance service of a project outside requests."""

from app.db.database import Database
from app.db.models import Project
from app.experiments.scorecard.counting import ScorecardCounter
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.service import MetricQueryBuilder
from app.operations.maintenance.service import MaintenanceService


def build_maintenance(database: Database, materializer: Materializer, project: Project) -> MaintenanceService:
    facts, queries = FactService(database, materializer, project.id), MetricQueryBuilder(database, project)
    scorecards = ScorecardCounter(facts, queries)
    return MaintenanceService(facts, queries, scorecards, materializer.failures)
