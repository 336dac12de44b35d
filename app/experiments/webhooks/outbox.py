"""The outbox: adds the deliveries of an event in the transaction of the change that it tells of."""

from collections.abc import Mapping, Sequence
from uuid import uuid4

from pydantic import JsonValue

from app.activity_log.changes import State
from app.db.models import ExperimentNotice, User, Webhook, WebhookDelivery, utc_now
from app.experiments.webhooks.events import (
    ExperimentFacts,
    describe_change,
    event_of_change,
    event_of_status,
    facts_of,
    write_event,
)
from app.experiments.webhooks.repository import WebhookRepository


class Outbox:
    """The outbox of one project. A project without active webhooks costs one short query for each change."""

    def __init__(self, webhooks: WebhookRepository) -> None:
        self._webhooks = webhooks

    async def tell_change(
        self, experiment_id: int, activity: str, changed_by: User | None, before: State, after: State
    ) -> None:
        """Add the event of a change, and remember the status that receivers know by it.

        An experiment that starts as it is created is an event of its own.
        """
        event = event_of_change(activity, before, after)
        receivers = [] if event is None else await self._webhooks.active()
        if event is None or not receivers:
            return
        facts = facts_of(experiment_id, after or before)
        user: JsonValue = None if changed_by is None else {"id": changed_by.id, "email": changed_by.email}
        data = {**describe_change(activity, before, after), "changed_by": user}
        await self.add(receivers, event, facts, data)
        if activity == "created" and event_of_status("draft", facts.status) == "experiment.launched":
            await self.add(receivers, "experiment.launched", facts, {**data, "previous_status": "draft"})
        if activity != "deleted":
            await self.remember_status(experiment_id, facts.status)

    async def remember_status(self, experiment_id: int, status: str) -> ExperimentNotice:
        """Remember the status that receivers know of an experiment that no other transaction changes."""
        notice = await self._webhooks.notice(experiment_id)
        if notice is None:
            notice = ExperimentNotice(experiment_id=experiment_id, status=status, evidence={}, checked_at=None)
            await self._webhooks.add_notice(notice)
        if status in {"draft", "scheduled"}:  # another run has evidence of its own
            notice.evidence, notice.checked_at = {}, None
        notice.status = status
        return notice

    async def add(
        self,
        receivers: Sequence[Webhook],
        event: str,
        experiment: ExperimentFacts | None,
        data: Mapping[str, JsonValue],
    ) -> None:
        """Add an event for those of the receivers that want it."""
        wanting = [webhook for webhook in receivers if event in webhook.events]
        if wanting:
            await self._webhooks.add_deliveries(make_deliveries(wanting, event, experiment, data))


def make_deliveries(
    receivers: Sequence[Webhook], event: str, experiment: ExperimentFacts | None, data: Mapping[str, JsonValue]
) -> list[WebhookDelivery]:
    """Return the deliveries of one event, with the same id and body for each receiver."""
    now, event_id = utc_now(), uuid4()
    body = write_event(event, event_id, now, receivers[0].project_id, experiment, data)
    return [
        WebhookDelivery(
            webhook_id=webhook.id,
            event_id=event_id,
            event=event,
            body=body,
            attempts=0,
            next_attempt_at=now,
            error="",
            created_at=now,
        )
        for webhook in receivers
    ]
