"""Snapshots in the database."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from app.db.models import Snapshot
from app.db.sizes import fitting_limit


class SnapshotRepository:
    """Bound to one project when built, so no query can forget the tenant. It can add and read, and nothing else."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def add(self, snapshot: Snapshot) -> None:
        snapshot.project_id = self._project_id
        self._session.add(snapshot)
        await self._session.flush()

    async def get(self, experiment_id: int, snapshot_id: int) -> Snapshot | None:
        return await self._session.scalar(
            select(Snapshot)
            .where(
                Snapshot.project_id == self._project_id,
                Snapshot.experiment_id == experiment_id,
                Snapshot.id == snapshot_id,
            )
            .options(joinedload(Snapshot.created_by))
        )

    async def count(self, experiment_id: int) -> int:
        of_experiment = select(func.count()).where(
            Snapshot.project_id == self._project_id, Snapshot.experiment_id == experiment_id
        )
        return await self._session.scalar(of_experiment) or 0

    async def page(self, experiment_id: int, limit: int, offset: int) -> Sequence[Snapshot]:
        """Return snapshots, newest first; fewer than ``limit`` where they are large."""
        query = (
            select(Snapshot)
            .where(Snapshot.project_id == self._project_id, Snapshot.experiment_id == experiment_id)
            .order_by(Snapshot.id.desc())
        )
        limit = await fitting_limit(self._session, query, (Snapshot.content,), limit, offset)
        query = query.options(joinedload(Snapshot.created_by))
        return (await self._session.scalars(query.limit(limit).offset(offset))).all()
