"""Experiments in the database."""

from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import contains_eager, joinedload

from app.models import Experiment, FeatureFlag


class ExperimentRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    def _select(self) -> Select[Experiment]:
        return (
            select(Experiment)
            .join(Experiment.feature_flag)
            .where(Experiment.project_id == self._project_id)
            .options(contains_eager(Experiment.feature_flag), joinedload(Experiment.created_by))
        )

    async def get(self, experiment_id: int, *, for_update: bool = False) -> Experiment | None:
        """Return an experiment with its flag and author, on request both locked against other writers.

        A row that is joined but not locked would come as it was before the lock was waited for.
        """
        query = self._select().where(Experiment.id == experiment_id)
        if for_update:
            query = query.with_for_update(of=(Experiment, FeatureFlag))
        return await self._session.scalar(query)

    async def page(self, limit: int, offset: int) -> Sequence[Experiment]:
        """Return experiments, newest first."""
        found = await self._session.scalars(
            self._select().order_by(Experiment.created_at.desc(), Experiment.id.desc()).limit(limit).offset(offset)
        )
        return found.all()

    async def count(self) -> int:
        query = select(func.count()).select_from(Experiment).where(Experiment.project_id == self._project_id)
        return await self._session.scalar(query) or 0

    async def running(self) -> Sequence[Experiment]:
        """Return the experiments that have started, have no end and are not archived."""
        found = await self._session.scalars(
            self._select().where(
                Experiment.start_date.is_not(None), Experiment.end_date.is_(None), ~Experiment.archived
            )
        )
        return found.all()

    async def add(self, experiment: Experiment) -> None:
        experiment.project_id = self._project_id
        self._session.add(experiment)
        await self._session.flush()

    async def flush(self) -> None:
        await self._session.flush()

    async def delete(self, experiment: Experiment) -> None:
        await self._session.delete(experiment)
        await self._session.flush()
