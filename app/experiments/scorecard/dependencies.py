"""Builds the scorecards of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Project
from app.experiments.scorecard.counting import ScorecardCounter
from app.experiments.scorecard.service import ScorecardService
from app.experiments.sharing import SharedCounts
from app.http.dependencies import LimitedTimeDep, get_database
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.service import MetricQueryBuilder


async def get_scorecards(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ScorecardService:
    """Scorecards open short transactions of their own, as results do."""
    return build_scorecards(get_database(request), request.app.state.materializer, project)


def build_scorecards(database: Database, materializer: Materializer, project: Project) -> ScorecardService:
    counter = build_scorecard_counter(database, materializer, project)
    return ScorecardService(counter, SharedCounts(materializer.shared, project))


def build_scorecard_counter(database: Database, materializer: Materializer, project: Project) -> ScorecardCounter:
    facts, queries = FactService(database, materializer, project.id), MetricQueryBuilder(database, project)
    return ScorecardCounter(facts, queries)


ScorecardsDep = Annotated[ScorecardService, Depends(get_scorecards)]
