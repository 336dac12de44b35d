"""Delivers what waits in the outbox, in the background: at least once, with growing pauses between attempts."""

import asyncio
import contextlib
import datetime as dt
import functools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.common import limits
from app.common.fair_slots import FairSlots
from app.db.database import Database
from app.db.models import WebhookDelivery, utc_now
from app.experiments.webhooks.repository import OUTBOX, DeliveryQueue, DueDelivery
from app.experiments.webhooks.schemas import DeliveryRead
from app.experiments.webhooks.sending import Outcome, Outgoing, Sender

logger = logging.getLogger("abacus")

# Seconds between an attempt and the next: about half a day in all.
PAUSES: Final = (10, 60, 300, 900, 3600, 10_800, 28_800)
_POLL_SECONDS: Final = 5.0
_CLAIM: Final = dt.timedelta(seconds=6 * limits.WEBHOOK_SECONDS.value)  # a process that is gone by then left it undone
_CLEANING_SECONDS: Final = 60.0
_REMOVED_AT_A_TIME: Final = 1_000


class Deliverer:
    """Makes the attempts that are due, each webhook one after the other, and several webhooks at a time, in fair turns.

    A delivery is claimed in a short transaction and sent after it, so no connection waits for a receiver; several
    processes share the work. A receiver that does not answer holds one place for ``limits.WEBHOOK_SECONDS``.
    """

    def __init__(self, database: Database, sender: Sender, clock: Callable[[], dt.datetime] = utc_now) -> None:
        self._database = database
        self._sender = sender
        self._clock = clock
        self._wake = asyncio.Event()
        self._running: dict[tuple[int, int], asyncio.Task[None]] = {}  # by webhook and project
        self._tests = FairSlots(limits.WEBHOOKS_AT_A_TIME.value)
        self._cleaned_at = 0.0
        database.on_commit(self._handle_commit)

    def _handle_commit(self, info: Mapping[Any, Any]) -> None:
        if info.get(OUTBOX):
            self._wake.set()

    async def run(self) -> None:
        """Run until cancelled; errors are logged and tried again."""
        try:
            while True:
                try:
                    await self.begin_due()
                    if time.monotonic() > self._cleaned_at + _CLEANING_SECONDS:
                        self._cleaned_at = time.monotonic()
                        await self.clean()
                except Exception as error:  # without a database there is nothing to deliver
                    logger.warning("webhooks could not be delivered, retrying: %s", type(error).__name__)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _POLL_SECONDS)
                self._wake.clear()
        finally:
            for task in self._running.values():
                task.cancel()
            await self.finish_begun()

    async def finish_begun(self) -> None:
        """Wait until the attempts that were begun have ended."""
        if self._running:
            await asyncio.wait(list(self._running.values()))

    async def begin_due(self) -> int:
        """Begin the attempts that are due, as far as there are places; return their number."""
        places = limits.WEBHOOKS_AT_A_TIME.value - len(self._running)
        now = self._clock()
        async with self._database.read() as session:
            due = await DeliveryQueue(session).due(now, dict(self._running.keys()), places) if places > 0 else ()
        if not due:
            return 0
        async with self._database.write() as session:
            claimed = await DeliveryQueue(session).claim(due, now, now + _CLAIM)
        for one in claimed:
            task = asyncio.create_task(self._attempt(one))
            place = one.delivery.webhook_id, one.project_id
            self._running[place] = task
            task.add_done_callback(functools.partial(self._end, place))
        return len(claimed)

    def _end(self, place: tuple[int, int], _task: asyncio.Task[None]) -> None:
        del self._running[place]
        self._wake.set()

    async def _attempt(self, due: DueDelivery) -> None:
        try:
            await self.attempt(due)
        except Exception:  # the claim ends, and another attempt is made
            logger.exception("delivery %d of webhook %d failed", due.delivery.id, due.delivery.webhook_id)

    async def attempt(self, due: DueDelivery) -> None:
        """Send a delivery that is claimed, and record what became of it."""
        delivery = due.delivery
        outcome = await self._send(due)
        now = self._clock()
        if outcome.error and delivery.attempts <= len(PAUSES):
            delivery.next_attempt_at = now + dt.timedelta(seconds=PAUSES[delivery.attempts - 1])
        else:
            delivery.next_attempt_at = None
        await self._record(delivery, outcome, now)

    async def try_once(self, due: DueDelivery) -> WebhookDelivery:
        """Send a delivery that nobody else sends, without another attempt, and return it as it was recorded."""
        async with self._tests.slot(due.project_id):
            outcome = await self._send(due)
        await self._record(due.delivery, outcome, self._clock())
        return due.delivery

    async def _send(self, due: DueDelivery) -> Outcome:
        delivery = due.delivery
        return await self._sender.send(
            Outgoing(due.url, due.secret, delivery.event, str(delivery.event_id), delivery.body)
        )

    async def _record(self, delivery: WebhookDelivery, outcome: Outcome, now: dt.datetime) -> None:
        delivery.delivered_at = None if outcome.error else now
        delivery.response_status, delivery.error = outcome.response_status, outcome.error
        async with self._database.write() as session:
            await DeliveryQueue(session).finish(delivery)

    async def clean(self) -> None:
        """Remove old deliveries, and give up what waits beyond the limit of a webhook."""
        moment = self._clock() - dt.timedelta(days=limits.WEBHOOK_DAYS.value)
        async with self._database.write(durable=False) as session:
            queue = DeliveryQueue(session)
            await queue.give_up_excess(limits.WEBHOOK_WAITING.value, limits.WEBHOOK_WAITING.detail)
            await queue.remove_before(moment, _REMOVED_AT_A_TIME)


def read_delivery(delivery: WebhookDelivery) -> DeliveryRead:
    """Return a delivery as the API shows it."""
    status = "delivered" if delivery.delivered_at else "pending" if delivery.next_attempt_at else "failed"
    return DeliveryRead.model_validate({**vars(delivery), "status": status})
