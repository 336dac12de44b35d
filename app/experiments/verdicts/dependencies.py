"""Builds what keeps the verdicts on a project's experiments."""

from app.db.database import Database
from app.db.models import Project
from app.experiments.scorecard.dependencies import build_scorecards
from app.experiments.verdicts.service import VerdictUpkeep
from app.metrics.facts.materializer import Materializer


def build_verdicts(database: Database, materializer: Materializer, project: Project) -> VerdictUpkeep:
    scorecards = build_scorecards(database, materializer, project)
    return VerdictUpkeep(database, scorecards, materializer.verdict_failures, materializer.progress, project.id)
