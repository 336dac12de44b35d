"""Builds the insights of a project, and reads which one a request asks for."""

from inspect import Parameter, Signature
from typing import Annotated

from fastapi import Depends, Query, Request

from app.accounts.auth.dependencies import ProjectDep
from app.http.dependencies import LimitedTimeDep, get_database
from app.http.query_params import read_text
from app.insights.schemas import FunnelInsightBody, InsightBody, TrendInsightBody
from app.insights.service import InsightService
from app.metrics.counting.service import FactService
from app.metrics.queries.entities import Filters
from app.metrics.queries.service import MetricQueryBuilder


async def get_insights(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> InsightService:
    database = get_database(request)
    facts = FactService(database, request.app.state.materializer, project.id)
    return InsightService(database, facts, MetricQueryBuilder(database, project), project)


InsightsDep = Annotated[InsightService, Depends(get_insights)]


class _SentFilters:
    """A dependency that reads the fields of a body from the query string, where GET has them."""

    def __init__(self, model: type[InsightBody]) -> None:
        self._names = tuple(model.model_fields)
        # Declared to the framework as if they were written out: each is in the OpenAPI document, and known.
        self.__signature__ = Signature(
            [
                Parameter(
                    name,
                    Parameter.KEYWORD_ONLY,
                    default=None,
                    annotation=Annotated[str | None, Query(description=field.description)],
                )
                for name, field in model.model_fields.items()
            ]
        )

    def __call__(self, **sent: str | None) -> Filters:
        return {name: read_text(sent[name]) for name in self._names if sent[name] is not None}


TrendFiltersDep = Annotated[Filters, Depends(_SentFilters(TrendInsightBody))]
FunnelFiltersDep = Annotated[Filters, Depends(_SentFilters(FunnelInsightBody))]
