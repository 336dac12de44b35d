"""The endpoints of actions."""

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.params import Depends

from app.accounts.auth.dependencies import UserDep, get_project, require_scope
from app.accounts.idempotency.dependencies import ONCE, REUSED, KeyedRoute
from app.accounts.users import UserBasic
from app.db.models import Action
from app.events.actions.dependencies import ActionsDep, LockedActionDep, get_action
from app.events.actions.schemas import ActionCreate, ActionRead, ActionReplace, ActionStepRead, ActionUpdate
from app.http.pagination import PaginationDep
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.http.schemas import Page
from app.http.strictness import OF_2022

router = APIRouter(
    route_class=KeyedRoute,
    prefix="/api/projects/{project_id}/actions",
    tags=["Actions"],
    dependencies=[require_scope("action"), OF_2022],
)


def _read(action: Action) -> ActionRead:
    return ActionRead(
        id=action.id,
        name=action.name,
        description=action.description,
        tags=[],
        post_to_slack=False,
        slack_message_format="",
        steps=[ActionStepRead.model_validate(step) for step in action.steps],
        created_at=action.created_at,
        created_by=UserBasic.model_validate(action.created_by) if action.created_by else None,
        deleted=action.deleted,
        is_calculating=False,
        last_calculated_at=action.created_at,
        team_id=action.project_id,
        is_action=True,
    )


@router.get("/", summary="List actions")
async def list_actions(actions: ActionsDep, pagination: PaginationDep) -> Page[ActionRead]:
    """Return the project's actions, newest first. Deleted ones are left out."""
    count, rows = await actions.page(pagination.limit, pagination.offset)
    return pagination.page(count, [_read(action) for action in rows])


@router.post("/", status_code=201, summary="Create an action", responses=REUSED, dependencies=[ONCE])
async def create_action(
    user: UserDep, actions: ActionsDep, body: Annotated[ActionCreate, body_of(ActionCreate)]
) -> ActionRead:
    """Create an action: a name for all events that match at least one of its steps.

    An event matches a step when all conditions of the step hold: the event's name, the URL of the page, the properties,
    and for `$autocapture` the element. Metrics refer to an action by its id, and apply its current steps.
    """
    return _read(await actions.create(body, user))


@router.get("/{action_id}/", summary="Retrieve an action")
async def retrieve_action(action: Annotated[Action, Depends(get_action)]) -> ActionRead:
    """Return one action with its steps. A deleted action is not found."""
    return _read(action)


@router.put("/{action_id}/", summary="Replace an action")
async def replace_action(
    action: LockedActionDep, actions: ActionsDep, body: Annotated[ActionReplace, body_of(ActionReplace)]
) -> ActionRead:
    """Change an action as PATCH does. The name is required; other fields that are left out keep their values."""
    return _read(await actions.update(action, body))


@router.patch("/{action_id}/", summary="Change an action")
async def update_action(
    action: LockedActionDep, actions: ActionsDep, body: Annotated[ActionUpdate, body_of(ActionUpdate)]
) -> ActionRead:
    """Change the fields that are sent; `steps` are replaced as a whole. `deleted: true` deletes the action."""
    return _read(await actions.update(action, body))


@router.delete("/{action_id}/", status_code=204, summary="Delete an action")
async def delete_action(action: LockedActionDep, actions: ActionsDep) -> Response:
    """Delete an action. It stays in the database, hidden from the API; metrics that refer to it report an error."""
    await actions.delete(action)
    return Response(status_code=204)


answer_other_methods(router, Depends(get_project))
