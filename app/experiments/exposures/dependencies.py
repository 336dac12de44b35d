"""Builds the exposures of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Project
from app.experiments.exposures.counting import ExposureService
from app.experiments.sharing import SharedCounts
from app.http.dependencies import LimitedTimeDep, get_database
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.service import MetricQueryBuilder


async def get_exposures(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ExposureService:
    """Exposures open short transactions of their own, as results do."""
    return build_exposures(get_database(request), request.app.state.materializer, project)


def build_exposures(database: Database, materializer: Materializer, project: Project) -> ExposureService:
    facts, queries = FactService(database, materializer, project.id), MetricQueryBuilder(database, project)
    return ExposureService(facts, queries, SharedCounts(materializer.shared, project))


ExposuresDep = Annotated[ExposureService, Depends(get_exposures)]
