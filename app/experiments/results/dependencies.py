"""Builds the results of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Project
from app.experiments.results.service import ResultsService
from app.http.dependencies import LimitedTimeDep, database_of
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materialiser


async def get_results(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ResultsService:
    """Results run for longer than one transaction should: they open short ones of their own."""
    return build_results(database_of(request), request.app.state.materialiser, project)


def build_results(database: Database, materialiser: Materialiser, project: Project) -> ResultsService:
    return ResultsService(database, FactService(database, materialiser, project.id), project, materialiser.shared)


ResultsDep = Annotated[ResultsService, Depends(get_results)]
