"""Builds the results of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Project
from app.experiments.results.service import ResultsService
from app.experiments.sharing import SharedCounts
from app.http.dependencies import LimitedTimeDep, get_database
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer


async def get_results(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ResultsService:
    """Results run for longer than one transaction should: they open short ones of their own."""
    return build_results(get_database(request), request.app.state.materializer, project)


def build_results(database: Database, materializer: Materializer, project: Project) -> ResultsService:
    facts, shared = FactService(database, materializer, project.id), SharedCounts(database, materializer, project)
    return ResultsService(database, facts, project, shared)


async def get_shared_counts(request: Request, project: ProjectDep) -> SharedCounts:
    return SharedCounts(get_database(request), request.app.state.materializer, project)


SharedCountsDep = Annotated[SharedCounts, Depends(get_shared_counts)]
ResultsDep = Annotated[ResultsService, Depends(get_results)]
