"""Clients that send events like SDKs: they resend what is not acknowledged."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID, uuid4

import httpx

BATCH = 20
PAUSE = 0.05

Batch = Sequence[dict[str, object]]


class Sender:
    """Sends batch after batch until told to stop, each until it is acknowledged, and every tenth once more."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._token = token
        self._stop = asyncio.Event()
        self._progress = asyncio.Condition()
        self._made = 0
        self.sent: set[UUID] = set()
        self.acknowledged: set[UUID] = set()
        self.answers: Counter[int | str] = Counter()

    async def run(self, clients: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._work())

    def stop(self) -> None:
        self._stop.set()

    async def acknowledgements(self, more: int) -> None:
        """Wait until so many more events are acknowledged."""
        goal = len(self.acknowledged) + more
        async with self._progress:
            await self._progress.wait_for(lambda: len(self.acknowledged) >= goal)

    async def refusals(self, more: int) -> None:
        """Wait until so many more requests are told to come again."""
        goal = self.answers[503] + more
        async with self._progress:
            await self._progress.wait_for(lambda: self.answers[503] >= goal)

    async def _work(self) -> None:
        while not self._stop.is_set():
            batch = self._new_batch()
            await self._send_until_acknowledged(batch)
            if self._made % 10 == 0:
                await self._send_until_acknowledged(batch)

    def _new_batch(self) -> Batch:
        self._made += 1
        ids = [uuid4() for _ in range(BATCH)]
        self.sent.update(ids)
        return [
            {"uuid": str(one), "event": "visit", "distinct_id": f"person-{(self._made * BATCH + place) % 97}"}
            for place, one in enumerate(ids)
        ]

    async def _send_until_acknowledged(self, batch: Batch) -> None:
        is_acknowledged = False
        while not is_acknowledged:
            is_acknowledged = await self._send(batch)
            async with self._progress:
                if is_acknowledged:
                    self.acknowledged.update(UUID(str(event["uuid"])) for event in batch)
                self._progress.notify_all()
            if not is_acknowledged:
                await asyncio.sleep(PAUSE)

    async def _send(self, batch: Batch) -> bool:
        try:
            async with httpx.AsyncClient(timeout=30) as client:
                response = await client.post(f"{self._address}/batch/", json={"api_key": self._token, "batch": batch})
        except httpx.TransportError as error:  # the worker died: nobody can say whether it had stored the batch
            self.answers[type(error).__name__] += 1
            return False
        self.answers[response.status_code] += 1
        return response.status_code == 200
