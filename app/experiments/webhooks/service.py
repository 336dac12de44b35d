"""The rules of webhooks."""

from collections.abc import Sequence

from app.activity_log.changes import State
from app.activity_log.service import ActivityLog
from app.common import limits
from app.common.errors import NotFound, ValidationFailed
from app.common.ids import read_id
from app.db.models import User, Webhook, WebhookDelivery, utc_now
from app.experiments.webhooks.addresses import Network, is_allowed, read_address
from app.experiments.webhooks.events import TEST
from app.experiments.webhooks.outbox import make_deliveries
from app.experiments.webhooks.repository import WebhookRepository
from app.experiments.webhooks.schemas import WebhookCreate, WebhookUpdate
from app.experiments.webhooks.sending import NOT_PUBLIC, host_of
from app.experiments.webhooks.signing import make_secret

_CHANGEABLE = ("url", "events", "active", "secret")


class WebhookService:
    """Webhooks of one project."""

    def __init__(self, webhooks: WebhookRepository, log: ActivityLog, allowed: Sequence[Network]) -> None:
        self._webhooks = webhooks
        self._log = log
        self._allowed = allowed

    async def get(self, reference: str, *, for_update: bool = False) -> Webhook:
        """Return the webhook that a path names; ``NotFound`` otherwise."""
        webhook_id = read_id(reference)
        webhook = await self._webhooks.get(webhook_id, for_update=for_update) if webhook_id else None
        if webhook is None:
            raise NotFound
        return webhook

    async def page(self, limit: int, offset: int) -> tuple[int, Sequence[Webhook]]:
        return await self._webhooks.count(), await self._webhooks.page(limit, offset)

    async def create(self, body: WebhookCreate, created_by: User) -> Webhook:
        self._check_host(body.url)
        await self._webhooks.lock()
        if await self._webhooks.count() >= limits.WEBHOOKS.value:
            raise ValidationFailed(limits.WEBHOOKS.detail)
        if body.active:
            await self._begin_anew()
        webhook = Webhook(
            url=body.url,
            events=list(body.events),
            secret=body.secret or make_secret(),
            active=body.active,
            created_by_id=created_by.id,
        )
        await self._webhooks.add(webhook)
        await self._log.record(
            "Webhook", webhook.id, "created", created_by, after=_state_of(webhook), name=host_of(webhook.url)
        )
        return await self.get(str(webhook.id))

    async def update(self, webhook: Webhook, body: WebhookUpdate, changed_by: User) -> Webhook:
        """Change the fields that were sent; what waits is sent to the new address, signed with the new secret."""
        before = _state_of(webhook)
        if body.url is not None:
            self._check_host(body.url)
        if body.active and not webhook.active:
            await self._webhooks.lock()
            await self._begin_anew()
        for field in _CHANGEABLE:
            if field in body.model_fields_set:
                setattr(webhook, field, getattr(body, field))
        webhook.updated_at = utc_now()
        await self._webhooks.flush()
        after = _state_of(webhook)
        if body.secret is not None:  # of the secret itself nothing is logged
            before, after = {**before, "secret": None}, {**after, "secret": "changed"}
        await self._log.record(
            "Webhook", webhook.id, "updated", changed_by, before=before, after=after, name=host_of(webhook.url)
        )
        return webhook

    async def delete(self, webhook: Webhook, deleted_by: User) -> None:
        """Delete a webhook with its deliveries: what waits is not sent any more."""
        await self._webhooks.delete(webhook)
        await self._log.record(
            "Webhook", webhook.id, "deleted", deleted_by, before=_state_of(webhook), name=host_of(webhook.url)
        )

    async def deliveries(self, webhook: Webhook, limit: int, offset: int) -> tuple[int, Sequence[WebhookDelivery]]:
        count = await self._webhooks.count_deliveries(webhook.id)
        return count, await self._webhooks.deliveries(webhook.id, limit, offset)

    async def add_test(self, webhook: Webhook) -> WebhookDelivery:
        """Add a delivery that only shows whether the receiver takes it; the caller makes the attempt."""
        [delivery] = make_deliveries([webhook], TEST, None, {})
        delivery.attempts, delivery.last_attempt_at, delivery.next_attempt_at = 1, delivery.created_at, None
        await self._webhooks.add_deliveries([delivery])
        return delivery

    async def _begin_anew(self) -> None:
        """Forget what receivers knew of experiments while no webhook was active: it may be long ago."""
        if not await self._webhooks.active():
            await self._webhooks.forget_notices()

    def _check_host(self, url: str) -> None:
        address = read_address(host_of(url))
        if address is not None and not is_allowed(address, self._allowed):
            raise ValidationFailed(NOT_PUBLIC, attr="url")


def _state_of(webhook: Webhook) -> State:
    """Return a webhook as the activity log shows it. A path may hold a token: only the host of the URL is shown."""
    return {"host": host_of(webhook.url), "events": [*webhook.events], "active": webhook.active}
