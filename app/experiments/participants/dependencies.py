"""Builds the participants of a project's experiments."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.experiments.participants.service import ParticipantService
from app.http.dependencies import LimitedTimeDep, get_database
from app.metrics.counting.service import FactService
from app.metrics.queries.service import MetricQueryBuilder


async def get_participants(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ParticipantService:
    database = get_database(request)
    facts = FactService(database, request.app.state.materializer, project.id)
    return ParticipantService(database, facts, MetricQueryBuilder(database, project), project.id)


ParticipantsDep = Annotated[ParticipantService, Depends(get_participants)]
