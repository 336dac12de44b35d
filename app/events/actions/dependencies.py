"""Builds the actions of a project."""

from typing import Annotated

from fastapi import Depends, Path

from app.accounts.auth.dependencies import ProjectDep
from app.db.models import Action
from app.events.actions.repository import ActionRepository
from app.events.actions.service import ActionService
from app.http.dependencies import SessionDep
from app.http.fields import PathId

ActionId = Annotated[PathId, Path(description="An action's id.")]


async def get_actions(project: ProjectDep, session: SessionDep) -> ActionService:
    return ActionService(ActionRepository(session, project.id))


async def get_action(action_id: ActionId, actions: "ActionsDep") -> Action:
    return await actions.get(action_id)


async def get_locked_action(action_id: ActionId, actions: "ActionsDep") -> Action:
    """The action, locked against other writers until the request ends."""
    return await actions.get(action_id, for_update=True)


ActionsDep = Annotated[ActionService, Depends(get_actions)]
LockedActionDep = Annotated[Action, Depends(get_locked_action)]
