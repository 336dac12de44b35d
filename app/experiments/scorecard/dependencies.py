"""Builds the scorecards of a project."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Query, Request

from app.accounts.auth.dependencies import ProjectDep
from app.common import limits
from app.db.database import Database
from app.db.models import Project
from app.experiments.counting.dependencies import build_counter, build_scorecard_counter
from app.experiments.exposures.dependencies import build_planner
from app.experiments.scorecard.breakdown_request import DEFAULT_VALUES, AskedBreakdown, read_breakdown
from app.experiments.scorecard.breakdowns import BreakdownService
from app.experiments.scorecard.service import ScorecardService
from app.experiments.sharing import SharedCounts
from app.http.dependencies import LimitedTimeDep, get_database
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.breakdown import BREAKDOWN_TYPES, BROKEN_DOWN_BY


def _named(choices: Sequence[str]) -> str:
    return " or ".join(f"`{one}`" for one in choices)


async def get_scorecards(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ScorecardService:
    """Scorecards open short transactions of their own, as results do."""
    return build_scorecards(get_database(request), request.app.state.materializer, project)


def build_scorecards(database: Database, materializer: Materializer, project: Project) -> ScorecardService:
    return ScorecardService(
        build_scorecard_counter(database, materializer, project),
        build_counter(database, materializer, project).count_with_results,
        SharedCounts(database, materializer, project),
    )


async def get_breakdowns(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> BreakdownService:
    return build_breakdowns(get_database(request), request.app.state.materializer, project)


def build_breakdowns(database: Database, materializer: Materializer, project: Project) -> BreakdownService:
    return BreakdownService(
        database,
        FactService(database, materializer, project.id),
        build_planner(database, project),
        build_scorecard_counter(database, materializer, project),
        SharedCounts(database, materializer, project),
        project.id,
    )


async def get_asked_breakdown(
    breakdown: Annotated[str | None, Query(description="A property to break a metric down by.")] = None,
    breakdown_type: Annotated[
        str | None,
        Query(description=f"Whose property it is: {_named(BREAKDOWN_TYPES)}; of an event unless it is given."),
    ] = None,
    breakdown_by: Annotated[
        str | None,
        Query(description=f"Of which event: {_named(BROKEN_DOWN_BY)}; of the first exposure unless it is given."),
    ] = None,
    limit: Annotated[
        str | None,
        Query(
            description=f"The number of values, the most frequent first: {DEFAULT_VALUES} unless it is given, at most "
            f"{limits.BREAKDOWN_VALUES.value}."
        ),
    ] = None,
    metric: Annotated[
        str | None, Query(description="The metric to break down: its `metric_id`, `primary` unless it is given.")
    ] = None,
) -> AskedBreakdown | None:
    """The breakdown that the request asks for, if any."""
    return read_breakdown(breakdown, breakdown_type, breakdown_by, limit, metric)


BreakdownsDep = Annotated[BreakdownService, Depends(get_breakdowns)]
BreakdownDep = Annotated[AskedBreakdown | None, Depends(get_asked_breakdown)]
ScorecardsDep = Annotated[ScorecardService, Depends(get_scorecards)]
