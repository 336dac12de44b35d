"""The log of changes: each is written in the transaction of the change itself, by the service that makes it."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from app.activity_log.changes import ABSENT, State, changes_between
from app.activity_log.repository import ActivityRepository
from app.db.models import ActivityEntry, User

Scope: TypeAlias = Literal["Experiment", "FeatureFlag", "Person", "Webhook"]


class ActivityLog:
    def __init__(self, entries: ActivityRepository) -> None:
        self._entries = entries

    async def record(
        self,
        scope: Scope,
        item_id: int,
        activity: str,
        user: User | None,
        *,
        before: State = ABSENT,
        after: State = ABSENT,
        name: str,
    ) -> None:
        """Add an entry about an item, unless it is an update that changes nothing. The command line has no user."""
        changes = changes_between(before, after)
        if changes or activity != "updated":
            await self._entries.add(
                ActivityEntry(
                    scope=scope,
                    item_id=item_id,
                    activity=activity,
                    detail={"name": name, "changes": changes},
                    user_id=None if user is None else user.id,
                )
            )

    async def page(
        self, scope: Scope, item_id: int | None, limit: int, offset: int
    ) -> tuple[int, Sequence[ActivityEntry]]:
        """Return the number of entries about one item, or about a whole scope, and one page of them."""
        return await self._entries.count(scope, item_id), await self._entries.page(scope, item_id, limit, offset)
