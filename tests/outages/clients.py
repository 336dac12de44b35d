"""Clients that send events as SDKs do: what is not acknowledged is sent again."""

import asyncio
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
        self.answers: dict[int | str, int] = {}

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
        while not await self._send(batch):
            await asyncio.sleep(PAUSE)  # as clients do
        async with self._progress:
            self.acknowledged.update(UUID(str(event["uuid"])) for event in batch)
            self._progress.notify_all()

    async def _send(self, batch: Batch) -> bool:
        try:
            async with httpx.AsyncClient(timeout=30) as client:
                response = await client.post(f"{self._address}/batch/", json={"api_key": self._token, "batch": batch})
        except httpx.TransportError as error:  # the worker died: nobody can say whether it had stored the batch
            self._count(type(error).__name__)
            return False
        self._count(response.status_code)
        return response.status_code == 200

    def _count(self, answer: int | str) -> None:
        self.answers[answer] = self.answers.get(answer, 0) + 1
