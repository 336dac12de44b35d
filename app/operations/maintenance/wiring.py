"""Builds the maintenance of a project, where there is no request."""

from app.db.database import Database
from app.db.models import Project
from app.experiments.exposures.traffic_split import SplitReader
from app.experiments.scorecard.counting import ScorecardCounter
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materialiser
from app.metrics.queries.service import ExperimentQuestions
from app.operations.maintenance.service import UpkeepService


def build_upkeep(database: Database, materialiser: Materialiser, project: Project) -> UpkeepService:
    facts, questions = FactService(database, materialiser, project.id), ExperimentQuestions(database, project)
    return UpkeepService(facts, questions, ScorecardCounter(facts, questions, SplitReader(database, project.id)))
