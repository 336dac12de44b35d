"""The rules of actions."""

from collections.abc import Iterable, Sequence

from app.common.errors import NotFound
from app.common.ids import MAX_ID, read_id
from app.db.models import Action, User
from app.events.actions.repository import ActionRepository
from app.events.actions.schemas import ActionCreate, ActionUpdate

_STORED_AS_SENT = ("name", "description", "deleted")


class ActionService:
    """Actions of one project. Deleted actions stay in the database and are hidden from the API."""

    def __init__(self, actions: ActionRepository) -> None:
        self._actions = actions

    async def get(self, reference: str, *, for_update: bool = False) -> Action:
        """Return the action that a path names; a reference that is not a number is reported as not found."""
        action_id = read_id(reference)
        action = await self._actions.get(action_id, for_update=for_update) if action_id else None
        if action is None:
            raise NotFound
        return action

    async def by_ids(self, action_ids: Iterable[int]) -> dict[int, Action]:
        """Return the actions that metrics refer to, by id; unknown and deleted ones are absent.

        `app.events.actions.matching.alternatives` reads their steps.
        """
        return await self._actions.by_ids([action_id for action_id in set(action_ids) if 0 < action_id <= MAX_ID])

    async def page(self, limit: int, offset: int) -> tuple[int, Sequence[Action]]:
        return await self._actions.count(), await self._actions.page(limit, offset)

    async def create(self, body: ActionCreate, created_by: User) -> Action:
        action = Action(
            name=body.name,
            description=body.description,
            steps=[step.model_dump() for step in body.steps],
            created_by_id=created_by.id,
        )
        await self._actions.add(action)
        created = await self.get(str(action.id))
        if body.deleted:
            await self.delete(created)
        return created

    async def update(self, action: Action, body: ActionUpdate) -> Action:
        for field in _STORED_AS_SENT:
            if field in body.model_fields_set:
                setattr(action, field, getattr(body, field))
        if body.steps is not None:
            action.steps = [step.model_dump() for step in body.steps]
        await self._actions.flush()
        return action

    async def delete(self, action: Action) -> None:
        """Mark the action as deleted: metrics that refer to it report that it does not exist."""
        action.deleted = True
        await self._actions.flush()
