"""Actions in the database."""

from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from app.db.bulk import chunks
from app.db.models import Action
from app.db.sizes import fitting_limit


class ActionRepository:
    """Bound to one project when built, so no query can forget the tenant. Deleted actions are not found."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    def _select(self) -> Select[Action]:
        return select(Action).where(Action.project_id == self._project_id, ~Action.deleted)

    async def get(self, action_id: int, *, for_update: bool = False) -> Action | None:
        """Return an action with its author; with ``for_update`` it is locked against other writers."""
        query = self._select().where(Action.id == action_id).options(joinedload(Action.created_by))
        return await self._session.scalar(query.with_for_update(of=Action) if for_update else query)

    async def by_ids(self, action_ids: Sequence[int]) -> dict[int, Action]:
        found: dict[int, Action] = {}
        for chunk in chunks(action_ids):
            actions = await self._session.scalars(self._select().where(Action.id.in_(chunk)))
            found |= {action.id: action for action in actions}
        return found

    async def page(self, limit: int, offset: int) -> Sequence[Action]:
        """Return actions with their authors, newest first; fewer than ``limit`` where they are large."""
        query = self._select().order_by(Action.created_at.desc(), Action.id.desc())
        limit = await fitting_limit(self._session, query, (Action.steps, Action.description), limit, offset)
        query = query.options(joinedload(Action.created_by))
        return (await self._session.scalars(query.limit(limit).offset(offset))).all()

    async def count(self) -> int:
        query = select(func.count()).select_from(Action).where(Action.project_id == self._project_id, ~Action.deleted)
        return await self._session.scalar(query) or 0

    async def add(self, action: Action) -> None:
        action.project_id = self._project_id
        self._session.add(action)
        await self._session.flush()

    async def flush(self) -> None:
        await self._session.flush()
