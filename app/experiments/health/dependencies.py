"""Builds the health checks of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Project
from app.experiments.exposures.dependencies import build_exposures
from app.experiments.exposures.traffic_split import SplitReader
from app.experiments.health.service import FindingsService
from app.experiments.results.dependencies import build_results
from app.experiments.scorecard.dependencies import build_scorecards
from app.http.dependencies import LimitedTimeDep, database_of
from app.metrics.facts.materializer import Materialiser


async def get_findings(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> FindingsService:
    """Findings open short transactions of their own, as results do."""
    return build_findings(database_of(request), request.app.state.materialiser, project)


def build_findings(database: Database, materialiser: Materialiser, project: Project) -> FindingsService:
    return FindingsService(
        build_exposures(database, materialiser, project),
        build_results(database, materialiser, project),
        build_scorecards(database, materialiser, project),
        SplitReader(database, project.id),
    )


FindingsDep = Annotated[FindingsService, Depends(get_findings)]
