"""Looks up the actions that metrics mention."""

from collections.abc import Sequence

from app.common.errors import ValidationFailed
from app.db.database import Database
from app.db.models import Action
from app.events.actions.matching import alternatives
from app.events.actions.repository import ActionRepository
from app.events.actions.service import ActionService
from app.metrics.counting.basis import rest_on_more
from app.metrics.facts.series import ActionSource, EventSource
from app.metrics.queries.entities import NO_ACTIONS, Actions, Filters, check_limits, filters_in, mentioned_actions
from app.properties.filters import Group, InvalidFilter
from app.properties.validation import compile_patterns


class ActionSources:
    """The actions of one project, as sources of events."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def of(self, filters: Filters) -> Actions:
        """Return the actions that an insight mentions, as they are today, without deleted ones.

        The regular expressions of both are compiled here, in slices of time, and found in a cache where they are used.

        Raises
        ------
        ValidationFailed
            When the insight is too large, or its lists cannot be read.
        """
        check_limits(filters)
        await compile_of_metric(filters_in(filters))
        mentioned = mentioned_actions(filters)
        if not mentioned:
            return NO_ACTIONS
        rest_on_more()
        async with self._database.read() as session:
            found = await ActionService(ActionRepository(session, self._project_id)).by_ids(mentioned)
        return {number: await _source_of(action) for number, action in found.items()}


async def _source_of(action: Action) -> ActionSource:
    try:
        steps = alternatives(action.steps)
    except InvalidFilter as error:  # older than what refuses it today
        raise ValidationFailed(f"Action {action.name!r}: {error.detail}", code=error.code, attr="filters") from error
    await compile_of_metric([one.filter for one in steps])
    return ActionSource(action.name, [EventSource(one.event, one.filter) for one in steps])


async def compile_of_metric(trees: Sequence[Group]) -> None:
    """Compile the regular expressions of a metric's filters in slices of time.

    Raises
    ------
    ValidationFailed
        When they are too large together.
    """
    try:
        await compile_patterns(trees)
    except InvalidFilter as error:
        raise ValidationFailed(error.detail, code=error.code, attr="filters") from error
