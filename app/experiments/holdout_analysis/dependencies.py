"""Builds the analyses of a project's holdouts."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.db.database import Database
from app.db.models import Holdout, Project
from app.experiments.holdout_analysis.service import HoldoutAnalyzer
from app.experiments.holdouts.dependencies import HoldoutId, build_holdouts
from app.experiments.sharing import SharedCounts
from app.http.dependencies import LimitedTimeDep, get_database
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.service import MetricQueryBuilder


async def get_holdout_analyzer(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> HoldoutAnalyzer:
    return build_holdout_analyzer(get_database(request), request.app.state.materializer, project)


def build_holdout_analyzer(database: Database, materializer: Materializer, project: Project) -> HoldoutAnalyzer:
    facts = FactService(database, materializer, project.id)
    shared = SharedCounts(database, materializer, project)
    return HoldoutAnalyzer(database, facts, MetricQueryBuilder(database, project), shared)


async def get_detached_holdout(request: Request, holdout_id: HoldoutId, project: ProjectDep) -> Holdout:
    """The holdout, loaded in a transaction that has ended: for work that takes longer than one should."""
    async with get_database(request).read() as session:
        return await build_holdouts(session, project.id).get(holdout_id)


HoldoutAnalyzerDep = Annotated[HoldoutAnalyzer, Depends(get_holdout_analyzer)]
DetachedHoldoutDep = Annotated[Holdout, Depends(get_detached_holdout)]
