"""Builds the health checks of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Project
from app.experiments.exposures.dependencies import build_exposures
from app.experiments.exposures.traffic_split import TrafficSplitQueries
from app.experiments.health.service import HealthService
from app.experiments.results.dependencies import build_results
from app.experiments.scorecard.dependencies import build_scorecards
from app.http.dependencies import LimitedTimeDep, get_database
from app.metrics.facts.materializer import Materializer


async def get_health(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> HealthService:
    """HealthReport open short transactions of their own, as results do."""
    return build_health(get_database(request), request.app.state.materializer, project)


def build_health(database: Database, materializer: Materializer, project: Project) -> HealthService:
    return HealthService(
        build_exposures(database, materializer, project),
        build_results(database, materializer, project),
        build_scorecards(database, materializer, project),
        TrafficSplitQueries(database, project.id),
    )


HealthDep = Annotated[HealthService, Depends(get_health)]
