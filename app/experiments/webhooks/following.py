"""Tells receivers that an experiment has followed the variants of its flag."""

from pydantic import JsonValue

from app.db.models import User
from app.experiments.current_state import state_of
from app.experiments.repository import ExperimentRepository
from app.experiments.webhooks.outbox import Outbox


class FollowedVariants:
    """The news of one project's experiments that followed their flags, told in the transaction that changes a flag."""

    def __init__(self, experiments: ExperimentRepository, outbox: Outbox) -> None:
        self._experiments = experiments
        self._outbox = outbox

    async def tell(self, experiment_id: int, parameters_before: JsonValue, changed_by: User) -> None:
        """Tell of a change of an experiment's parameters."""
        experiment = await self._experiments.get(experiment_id)
        if experiment is None:  # it is deleted
            return
        after = state_of(experiment)
        before = {**after, "parameters": parameters_before}
        await self._outbox.tell_change(experiment_id, "updated", changed_by, before, after)
