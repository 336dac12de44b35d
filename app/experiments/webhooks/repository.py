"""Webhooks, their outbox and what receivers know, in the database."""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, cast

from sqlalchemy import ColumnElement, CursorResult, Select, case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from app.db.advisory_locks import ProjectLock, lock_project
from app.db.models import Experiment, ExperimentNotice, Webhook, WebhookDelivery
from app.db.sizes import fitting_limit
from app.experiments.repository import CHANGING

OUTBOX = "outbox"  # in a session's ``info``: whether its transaction adds deliveries


class WebhookRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    def _select(self) -> Select[Webhook]:
        return select(Webhook).where(Webhook.project_id == self._project_id)

    async def get(self, webhook_id: int, *, for_update: bool = False) -> Webhook | None:
        """Return a webhook with its author; with ``for_update`` it is locked against other writers."""
        query = self._select().where(Webhook.id == webhook_id).options(joinedload(Webhook.created_by))
        return await self._session.scalar(query.with_for_update(of=Webhook) if for_update else query)

    async def page(self, limit: int, offset: int) -> Sequence[Webhook]:
        query = self._select().order_by(Webhook.created_at.desc(), Webhook.id.desc()).limit(limit).offset(offset)
        return (await self._session.scalars(query.options(joinedload(Webhook.created_by)))).all()

    async def count(self) -> int:
        query = select(func.count()).select_from(Webhook).where(Webhook.project_id == self._project_id)
        return await self._session.scalar(query) or 0

    async def active(self) -> Sequence[Webhook]:
        """Return the webhooks that events are added for, oldest first."""
        return (await self._session.scalars(self._select().where(Webhook.active).order_by(Webhook.id))).all()

    async def lock(self) -> None:
        """Wait until no other transaction creates or activates webhooks of the project."""
        await lock_project(self._session, ProjectLock.WEBHOOKS, self._project_id)

    async def add(self, webhook: Webhook) -> None:
        webhook.project_id = self._project_id
        self._session.add(webhook)
        await self._session.flush()

    async def flush(self) -> None:
        await self._session.flush()

    async def delete(self, webhook: Webhook) -> None:
        await self._session.delete(webhook)
        await self._session.flush()

    async def add_deliveries(self, deliveries: Sequence[WebhookDelivery]) -> None:
        self._session.info[OUTBOX] = True
        self._session.add_all(deliveries)
        await self._session.flush()

    async def deliveries(self, webhook_id: int, limit: int, offset: int) -> Sequence[WebhookDelivery]:
        """Return the deliveries of a webhook, newest first; fewer than ``limit`` where they are large."""
        query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
        query = query.order_by(WebhookDelivery.id.desc())
        limit = await fitting_limit(self._session, query, (WebhookDelivery.body,), limit, offset)
        return (await self._session.scalars(query.limit(limit).offset(offset))).all()

    async def count_deliveries(self, webhook_id: int) -> int:
        query = select(func.count()).select_from(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
        return await self._session.scalar(query) or 0

    async def notice(self, experiment_id: int) -> ExperimentNotice | None:
        return await self._session.get(ExperimentNotice, experiment_id)

    async def notices(self) -> Sequence[ExperimentNotice]:
        """Return what receivers know of the experiments of the project that may change without a request."""
        query = select(ExperimentNotice).join(Experiment, Experiment.id == ExperimentNotice.experiment_id)
        query = query.where(Experiment.project_id == self._project_id, ExperimentNotice.status.in_(CHANGING))
        return (await self._session.scalars(query)).all()

    async def add_notice(self, notice: ExperimentNotice) -> None:
        self._session.add(notice)
        await self._session.flush()

    async def forget_notices(self) -> None:
        of_project = select(Experiment.id).where(Experiment.project_id == self._project_id)
        await self._session.execute(delete(ExperimentNotice).where(ExperimentNotice.experiment_id.in_(of_project)))


class DueDelivery(NamedTuple):
    """A delivery with what its receiver needs."""

    delivery: WebhookDelivery
    project_id: int
    url: str
    secret: str


class DeliveryQueue:
    """The deliveries of all projects that wait for an attempt."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def due(self, now: dt.datetime, busy: Mapping[int, int], limit: int) -> Sequence[int]:
        """Return the oldest due delivery of each active webhook that is not busy.

        Projects take turns, those with the fewest busy webhooks first: the backlog of one does not delay the others.
        ``busy`` holds the projects of webhooks.
        """
        since = func.min(WebhookDelivery.next_attempt_at)
        turn: ColumnElement[int] = func.row_number().over(partition_by=Webhook.project_id, order_by=since)
        if busy:
            turn += case(Counter(busy.values()), value=Webhook.project_id, else_=0)
        query = (
            select(func.min(WebhookDelivery.id))
            .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
            .where(WebhookDelivery.next_attempt_at <= now, Webhook.active, Webhook.id.not_in(busy))
            .group_by(WebhookDelivery.webhook_id, Webhook.project_id)
            .order_by(turn, since)
            .limit(limit)
        )
        return (await self._session.scalars(query)).all()

    async def claim(self, delivery_ids: Collection[int], now: dt.datetime, until: dt.datetime) -> Sequence[DueDelivery]:
        """Claim deliveries for one attempt: no other process makes it until the claim ends."""
        query = (
            select(WebhookDelivery, Webhook.project_id, Webhook.url, Webhook.secret)
            .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
            .where(WebhookDelivery.id.in_(delivery_ids), WebhookDelivery.next_attempt_at <= now)
            .with_for_update(of=WebhookDelivery, skip_locked=True)
        )
        claimed = [DueDelivery(*row) for row in await self._session.execute(query)]
        for delivery, *_ in claimed:
            delivery.attempts += 1
            delivery.last_attempt_at, delivery.next_attempt_at = now, until
        await self._session.flush()
        return claimed

    async def finish(self, delivery: WebhookDelivery) -> None:
        """Record what became of an attempt, unless another one was begun since."""
        await self._session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.id == delivery.id, WebhookDelivery.attempts == delivery.attempts)
            .values(
                delivered_at=delivery.delivered_at,
                next_attempt_at=delivery.next_attempt_at,
                response_status=delivery.response_status,
                error=delivery.error,
            )
        )

    async def give_up_excess(self, most: int, error: str) -> None:
        """Give up the oldest deliveries of a webhook for which more than some wait."""
        waiting = WebhookDelivery.next_attempt_at.is_not(None)
        crowded = select(WebhookDelivery.webhook_id).where(waiting).group_by(WebhookDelivery.webhook_id)
        for webhook_id in (await self._session.scalars(crowded.having(func.count() > most))).all():
            kept = select(WebhookDelivery.id).where(WebhookDelivery.webhook_id == webhook_id, waiting)
            oldest_kept = await self._session.scalar(kept.order_by(WebhookDelivery.id.desc()).offset(most - 1).limit(1))
            await self._session.execute(
                update(WebhookDelivery)
                .where(WebhookDelivery.webhook_id == webhook_id, waiting, WebhookDelivery.id < oldest_kept)
                .values(next_attempt_at=None, error=error)
            )

    async def remove_before(self, moment: dt.datetime, limit: int) -> int:
        """Remove deliveries from before a time, at most some; return how many."""
        oldest = select(WebhookDelivery.id, WebhookDelivery.created_at).order_by(WebhookDelivery.id).limit(limit)
        found = oldest.subquery()
        old = select(found.c.id).where(found.c.created_at < moment)
        removed = await self._session.execute(delete(WebhookDelivery).where(WebhookDelivery.id.in_(old)))
        return cast("CursorResult[object]", removed).rowcount
