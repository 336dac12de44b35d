"""Builds the exports of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Project
from app.experiments.export.service import ExportService
from app.experiments.exposures.dependencies import build_exposures
from app.experiments.participants.dependencies import build_participants
from app.experiments.scorecard.dependencies import build_scorecards
from app.http.dependencies import LimitedTimeDep, get_database
from app.metrics.facts.materializer import Materializer


async def get_exports(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ExportService:
    return build_exports(get_database(request), request.app.state.materializer, project)


def build_exports(database: Database, materializer: Materializer, project: Project) -> ExportService:
    return ExportService(
        build_scorecards(database, materializer, project),
        build_exposures(database, materializer, project),
        build_participants(database, materializer, project),
    )


ExportsDep = Annotated[ExportService, Depends(get_exports)]
