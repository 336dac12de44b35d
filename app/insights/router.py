"""The endpoints of insights, in the shapes of 2022."""

from typing import Annotated

from fastapi import APIRouter
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.http.strictness import OF_2022
from app.insights.dependencies import FunnelFiltersDep, InsightsDep, TrendFiltersDep
from app.insights.requests import read_request
from app.insights.schemas import FunnelInsightBody, FunnelInsightRead, InsightBody, TrendInsightBody, TrendInsightRead
from app.metrics.queries.entities import Filters

router = APIRouter(
    prefix="/api/projects/{project_id}/insights",
    tags=["Analysis"],
    dependencies=[require_scope("event", ANALYTICS, action="read"), OF_2022],
)


@router.get("/trend/", summary="Count events over time", response_model_exclude_unset=True)
async def retrieve_trend(insights: InsightsDep, filters: TrendFiltersDep) -> TrendInsightRead:
    """Return how often events or actions happened in each interval, as a metric counts them.

    Each series may have a `math`, and conditions of its own. `display=ActionsLineGraphCumulative` answers running
    totals, in which a person or group counts once. With `breakdown` each series is parted by the values of a property
    of its events, or of persons as they are today. The first interval begins at `date_from`.
    """
    return await insights.trend(read_request("TRENDS", filters))


@router.post("/trend/", summary="Count events over time, asked in the body", response_model_exclude_unset=True)
async def query_trend(
    insights: InsightsDep, filters: TrendFiltersDep, body: Annotated[TrendInsightBody, body_of(TrendInsightBody)]
) -> TrendInsightRead:
    """Return what GET does. Fields of the body precede those of the query string."""
    return await insights.trend(read_request("TRENDS", _together(filters, body)))


@router.get("/funnel/", summary="Count a funnel", response_model_exclude_unset=True)
async def retrieve_funnel(insights: InsightsDep, filters: FunnelFiltersDep) -> FunnelInsightRead:
    """Return how many persons, or groups, reached each step, and how long it took them, as a metric counts them.

    With `breakdown` there is a funnel for each value of a property; persons belong to the value that
    `breakdown_attribution_type` says, the first one unless it is given.
    """
    return await insights.funnel(read_request("FUNNELS", filters))


@router.post("/funnel/", summary="Count a funnel, asked in the body", response_model_exclude_unset=True)
async def query_funnel(
    insights: InsightsDep, filters: FunnelFiltersDep, body: Annotated[FunnelInsightBody, body_of(FunnelInsightBody)]
) -> FunnelInsightRead:
    """Return what GET does. Fields of the body precede those of the query string."""
    return await insights.funnel(read_request("FUNNELS", _together(filters, body)))


def _together(filters: Filters, body: InsightBody) -> Filters:
    return {**filters, **body.model_dump(exclude_none=True)}


answer_other_methods(router, Depends(get_project))
