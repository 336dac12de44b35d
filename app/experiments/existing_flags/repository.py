"""Feature flags, and the experiments that use them, in the database."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.bulk import chunks
from app.db.models import Experiment, FeatureFlag, utc_now
from app.flags.filters import JsonDict

_FLAGS_AT_A_TIME: Final = 50


class FlagUseRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def with_key(self, key: str) -> FeatureFlag | None:
        """Return the undeleted flag that has the key, locked against other writers."""
        return await self._session.scalar(
            select(FeatureFlag)
            .where(FeatureFlag.project_id == self._project_id, FeatureFlag.key == key, ~FeatureFlag.deleted)
            .with_for_update()
        )

    async def users_of(self, flag_id: int, *, besides: int | None = None, only_open: bool = True) -> Sequence[str]:
        """Return the names of the experiments on a flag, oldest first: only those that have not ended, or all."""
        query = select(Experiment.name).where(
            Experiment.project_id == self._project_id, Experiment.feature_flag_id == flag_id
        )
        if only_open:
            query = query.where(_is_open())
        if besides is not None:
            query = query.where(Experiment.id != besides)
        return (await self._session.scalars(query.order_by(Experiment.id))).all()

    async def unused(self) -> AsyncIterator[tuple[int, JsonDict]]:
        """Yield the id and the filters of the undeleted flags that no open experiment uses, newest first."""
        in_use = select(Experiment.feature_flag_id).where(Experiment.project_id == self._project_id, _is_open())
        query = (
            select(FeatureFlag.id)
            .where(FeatureFlag.project_id == self._project_id, ~FeatureFlag.deleted, FeatureFlag.id.not_in(in_use))
            .order_by(FeatureFlag.created_at.desc(), FeatureFlag.id.desc())
        )
        for some in chunks((await self._session.scalars(query)).all(), _FLAGS_AT_A_TIME):
            of_some = select(FeatureFlag.id, FeatureFlag.filters).where(FeatureFlag.id.in_(some))
            found = {row.id: row.filters for row in await self._session.execute(of_some)}
            for flag_id in some:
                if flag_id in found:
                    yield flag_id, found[flag_id]


def _is_open() -> ColumnElement[bool]:
    """Return the condition that an experiment runs, may run again, or is a draft."""
    return or_(Experiment.start_date.is_(None), Experiment.end_date.is_(None), Experiment.end_date > utc_now())
