"""Saved metrics in the database."""

from collections.abc import Collection, Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from app.db.models import Experiment, SavedMetric
from app.db.sizes import fitting_limit


class SavedMetricRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    def _select(self) -> Select[SavedMetric]:
        return select(SavedMetric).where(SavedMetric.project_id == self._project_id)

    async def get(self, metric_id: int, *, for_update: bool = False) -> SavedMetric | None:
        """Return a metric with its author; with ``for_update`` it is locked against other writers."""
        query = self._select().where(SavedMetric.id == metric_id).options(joinedload(SavedMetric.created_by))
        return await self._session.scalar(query.with_for_update(of=SavedMetric) if for_update else query)

    async def present(self, metric_ids: Collection[int]) -> set[int]:
        """Return those of the ids that exist, locked against their deletion until the transaction ends."""
        if not metric_ids:
            return set()
        query = select(SavedMetric.id).where(SavedMetric.project_id == self._project_id, SavedMetric.id.in_(metric_ids))
        return set((await self._session.scalars(query.with_for_update(read=True))).all())

    async def page(self, limit: int, offset: int) -> Sequence[SavedMetric]:
        """Return metrics with their authors, newest first; fewer than ``limit`` where they are large."""
        query = self._select().order_by(SavedMetric.created_at.desc(), SavedMetric.id.desc())
        limit = await fitting_limit(self._session, query, (SavedMetric.query, SavedMetric.description), limit, offset)
        query = query.options(joinedload(SavedMetric.created_by))
        return (await self._session.scalars(query.limit(limit).offset(offset))).all()

    async def count(self) -> int:
        query = select(func.count()).select_from(SavedMetric).where(SavedMetric.project_id == self._project_id)
        return await self._session.scalar(query) or 0

    async def users_of(self, metric_id: int) -> Sequence[str]:
        """Return the names of the experiments that count a metric."""
        query = select(Experiment.name, Experiment.saved_metrics_ids).where(
            Experiment.project_id == self._project_id, Experiment.saved_metrics_ids.is_not(None)
        )
        rows = await self._session.execute(query.order_by(Experiment.id))
        return [name for name, links in rows if any(link["id"] == metric_id for link in links)]

    async def add(self, metric: SavedMetric) -> None:
        metric.project_id = self._project_id
        self._session.add(metric)
        await self._session.flush()

    async def flush(self) -> None:
        await self._session.flush()

    async def delete(self, metric: SavedMetric) -> None:
        await self._session.delete(metric)
        await self._session.flush()
