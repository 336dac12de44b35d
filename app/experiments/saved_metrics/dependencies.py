"""Builds the saved metrics of a project."""

from typing import Annotated

from fastapi import Depends, Path
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep
from app.db.models import SavedMetric
from app.experiments.saved_metrics.repository import SavedMetricRepository
from app.experiments.saved_metrics.service import SavedMetricService
from app.http.dependencies import SessionDep
from app.http.fields import PathId

SavedMetricId = Annotated[PathId, Path(description="A saved metric's id.")]


async def get_saved_metrics(project: ProjectDep, session: SessionDep) -> SavedMetricService:
    return build_saved_metrics(session, project.id)


def build_saved_metrics(session: AsyncSession, project_id: int) -> SavedMetricService:
    return SavedMetricService(SavedMetricRepository(session, project_id))


async def get_saved_metric(saved_metric_id: SavedMetricId, metrics: "SavedMetricsDep") -> SavedMetric:
    return await metrics.get(saved_metric_id)


async def get_locked_saved_metric(saved_metric_id: SavedMetricId, metrics: "SavedMetricsDep") -> SavedMetric:
    """The metric, locked against other writers until the request ends."""
    return await metrics.get(saved_metric_id, for_update=True)


SavedMetricsDep = Annotated[SavedMetricService, Depends(get_saved_metrics)]
SavedMetricDep = Annotated[SavedMetric, Depends(get_saved_metric)]
LockedSavedMetricDep = Annotated[SavedMetric, Depends(get_locked_saved_metric)]
