"""Builds the health checks of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.experiments.counting.dependencies import build_counter
from app.experiments.health.definition import DefinitionChecker
from app.experiments.health.filter_problems import FilterProblems
from app.experiments.health.service import HealthService
from app.experiments.sharing import SharedCounts
from app.http.dependencies import LimitedTimeDep, get_database
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.cohort_references import CohortReferences
from app.metrics.queries.service import MetricQueryBuilder


async def get_health(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> HealthService:
    """Health checks open short transactions of their own, as results do."""
    database = get_database(request)
    counter = build_counter(database, request.app.state.materializer, project)
    materializer: Materializer = request.app.state.materializer
    return HealthService(
        counter,
        SharedCounts(database, materializer, project),
        materializer.failures,
        DefinitionChecker(MetricQueryBuilder(database, project)),
        FilterProblems(MetricQueryBuilder(database, project), CohortReferences(database, project.id)),
    )


HealthDep = Annotated[HealthService, Depends(get_health)]
