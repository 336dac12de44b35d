"""Builds the counters of a project's experiments."""

from app.db.database import Database
from app.db.models import Project
from app.experiments.counting.service import ExperimentCounter
from app.experiments.exposures.dependencies import build_planner
from app.experiments.results.dependencies import build_results
from app.experiments.scorecard.counting import ScorecardCounter
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.service import MetricQueryBuilder


def build_counter(database: Database, materializer: Materializer, project: Project) -> ExperimentCounter:
    return ExperimentCounter(
        FactService(database, materializer, project.id),
        build_planner(database, project),
        build_results(database, materializer, project),
        build_scorecard_counter(database, materializer, project),
    )


def build_scorecard_counter(database: Database, materializer: Materializer, project: Project) -> ScorecardCounter:
    facts, queries = FactService(database, materializer, project.id), MetricQueryBuilder(database, project)
    return ScorecardCounter(facts, queries, build_planner(database, project))
