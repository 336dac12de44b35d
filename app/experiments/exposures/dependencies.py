"""Builds the exposures of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Project
from app.experiments.exposures.service import ExposureService
from app.http.dependencies import LimitedTimeDep, database_of
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materialiser
from app.metrics.queries.service import ExperimentQuestions


async def get_exposures(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ExposureService:
    """Exposures open short transactions of their own, as results do."""
    return build_exposures(database_of(request), request.app.state.materialiser, project)


def build_exposures(database: Database, materialiser: Materialiser, project: Project) -> ExposureService:
    return ExposureService(FactService(database, materialiser, project.id), ExperimentQuestions(database, project))


ExposuresDep = Annotated[ExposureService, Depends(get_exposures)]
