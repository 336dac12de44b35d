"""Builds the exposures of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Project
from app.experiments.exposures.counting import ExposurePlanner, ExposureService
from app.experiments.exposures.traffic_split import TrafficSplitQueries
from app.experiments.sharing import SharedCounts
from app.http.dependencies import LimitedTimeDep, get_database
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.service import MetricQueryBuilder


async def get_exposures(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ExposureService:
    """Exposures open short transactions of their own, as results do."""
    return build_exposures(get_database(request), request.app.state.materializer, project)


def build_exposures(database: Database, materializer: Materializer, project: Project) -> ExposureService:
    facts = FactService(database, materializer, project.id)
    return ExposureService(facts, build_planner(database, project), SharedCounts(database, materializer, project))


def build_planner(database: Database, project: Project) -> ExposurePlanner:
    return ExposurePlanner(MetricQueryBuilder(database, project), TrafficSplitQueries(database, project.id))


async def get_traffic_splits(request: Request, project: ProjectDep) -> TrafficSplitQueries:
    return TrafficSplitQueries(get_database(request), project.id)


ExposuresDep = Annotated[ExposureService, Depends(get_exposures)]
TrafficSplitsDep = Annotated[TrafficSplitQueries, Depends(get_traffic_splits)]
