"""Looks up the actions that metrics mention."""

from app.db.database import Database
from app.events.actions.matching import alternatives
from app.events.actions.repository import ActionRepository
from app.events.actions.service import ActionService
from app.metrics.facts.series import ActionSource, EventSource
from app.metrics.queries.entities import NO_ACTIONS, Actions, Filters, mentioned_actions


class ActionSources:
    """The actions of one project, as sources of events."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def of(self, filters: Filters) -> Actions:
        """Return the actions that an insight mentions, as they are today, without deleted ones."""
        mentioned = mentioned_actions(filters)
        if not mentioned:
            return NO_ACTIONS
        async with self._database.read() as session:
            found = await ActionService(ActionRepository(session, self._project_id)).by_ids(mentioned)
        return {
            number: ActionSource(
                action.name, [EventSource(one.event, one.filter) for one in alternatives(action.steps)]
            )
            for number, action in found.items()
        }
