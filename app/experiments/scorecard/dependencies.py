"""Builds the scorecards of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Project
from app.experiments.exposures.traffic_split import SplitReader
from app.experiments.scorecard.counting import ScorecardCounter
from app.experiments.scorecard.service import ScorecardService
from app.http.dependencies import LimitedTimeDep, database_of
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materialiser
from app.metrics.queries.service import ExperimentQuestions


async def get_scorecards(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ScorecardService:
    """Scorecards open short transactions of their own, as results do."""
    return build_scorecards(database_of(request), request.app.state.materialiser, project)


def build_scorecards(database: Database, materialiser: Materialiser, project: Project) -> ScorecardService:
    facts, questions = FactService(database, materialiser, project.id), ExperimentQuestions(database, project)
    return ScorecardService(ScorecardCounter(facts, questions, SplitReader(database, project.id)))


ScorecardsDep = Annotated[ScorecardService, Depends(get_scorecards)]
