"""Builds the participants of a project's experiments."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Project
from app.experiments.participants.service import ParticipantService
from app.http.dependencies import LimitedTimeDep, get_database
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.service import MetricQueryBuilder


async def get_participants(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ParticipantService:
    return build_participants(get_database(request), request.app.state.materializer, project)


def build_participants(database: Database, materializer: Materializer, project: Project) -> ParticipantService:
    facts = FactService(database, materializer, project.id)
    return ParticipantService(database, facts, MetricQueryBuilder(database, project), project.id)


ParticipantsDep = Annotated[ParticipantService, Depends(get_participants)]
