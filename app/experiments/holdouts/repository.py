"""Holdouts in the database."""

from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import contains_eager, joinedload

from app.db.models import Experiment, FeatureFlag, Holdout
from app.db.sizes import fitting_limit


class HoldoutRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    def _select(self) -> Select[Holdout]:
        return select(Holdout).where(Holdout.project_id == self._project_id).options(joinedload(Holdout.created_by))

    async def get(self, holdout_id: int, *, for_update: bool = False) -> Holdout | None:
        """Return a holdout with its author; with ``for_update`` it is locked against other writers."""
        query = self._select().where(Holdout.id == holdout_id)
        return await self._session.scalar(query.with_for_update(of=Holdout) if for_update else query)

    async def get_to_refer(self, holdout_id: int) -> Holdout | None:
        """Return a holdout, locked against its change and deletion until the transaction ends."""
        query = self._select().where(Holdout.id == holdout_id)
        return await self._session.scalar(query.with_for_update(of=Holdout, read=True))

    async def page(self, limit: int, offset: int) -> Sequence[Holdout]:
        """Return holdouts with their authors, newest first; fewer than ``limit`` where they are large."""
        query = select(Holdout).where(Holdout.project_id == self._project_id)
        query = query.order_by(Holdout.created_at.desc(), Holdout.id.desc())
        limit = await fitting_limit(self._session, query, (Holdout.filters, Holdout.description), limit, offset)
        query = query.options(joinedload(Holdout.created_by))
        return (await self._session.scalars(query.limit(limit).offset(offset))).all()

    async def count(self) -> int:
        query = select(func.count()).select_from(Holdout).where(Holdout.project_id == self._project_id)
        return await self._session.scalar(query) or 0

    async def experiments_of(self, holdout_id: int, *, for_update: bool = False) -> Sequence[Experiment]:
        """Return the experiments that name a holdout, oldest first, with their flags; on request all locked."""
        query = (
            select(Experiment)
            .join(Experiment.feature_flag)
            .where(Experiment.project_id == self._project_id, Experiment.holdout_id == holdout_id)
            .options(contains_eager(Experiment.feature_flag))
            .order_by(Experiment.id)
        )
        if for_update:
            query = query.with_for_update(of=(Experiment, FeatureFlag))
        return (await self._session.scalars(query)).all()

    async def add(self, holdout: Holdout) -> None:
        holdout.project_id = self._project_id
        self._session.add(holdout)
        await self._session.flush()

    async def flush(self) -> None:
        await self._session.flush()

    async def delete(self, holdout: Holdout) -> None:
        await self._session.delete(holdout)
        await self._session.flush()
