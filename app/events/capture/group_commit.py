"""Group commit: small requests that arrive while a commit is under way share the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from app.common.errors import Unavailable
from app.events.capture.decoding.events import CapturedEvent

# In characters of properties, with an allowance for what else an event has.
MAX_WAITING_SIZE = 64 * 1024 * 1024
MAX_GROUP_SIZE = 2 * 1024 * 1024
_SIZE_OF_AN_EVENT = 500

Write = Callable[[str, Sequence[CapturedEvent]], Awaitable[None]]


class _PendingWrite:
    def __init__(self, events: Sequence[CapturedEvent]) -> None:
        self.events = events
        self.size = size_of(events)
        self.written: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class GroupCommit:
    """Writes the events of one token together, in the order they came, and tells every request when its own are in.

    Nobody waits for company: the first request starts a write at once, and those that come meanwhile are the next
    group. A group gathers for as long as a commit takes, so it grows with the load and is gone without it.
    """

    def __init__(self, write: Write, concerns_all: Callable[[Exception], bool]) -> None:
        self._write = write
        self._is_batch_wide = concerns_all
        self._queues: dict[str, deque[_PendingWrite]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._waiting_size = 0

    async def add(self, token: str, events: Sequence[CapturedEvent]) -> None:
        """Write events with those of other requests; return when they are committed, raise what kept them out.

        Raises
        ------
        Unavailable
            So many events wait already that it is better to ask the client to come again.
        """
        member = _PendingWrite(events)
        if self._waiting_size + member.size > MAX_WAITING_SIZE:
            raise Unavailable("Too many events are waiting to be stored. Please try again.")
        queue = self._queues.get(token)
        if queue is None:
            queue = self._queues[token] = deque()
            worker = asyncio.create_task(self._work(token, queue))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        queue.append(member)
        self._waiting_size += member.size
        try:
            await member.written
        finally:
            self._waiting_size -= member.size

    async def close(self) -> None:
        """Wait until everything that was accepted is written. Whoever gives up does not wait for what hangs to end."""
        if self._workers:
            await asyncio.wait(self._workers)

    async def _work(self, token: str, queue: deque[_PendingWrite]) -> None:
        try:
            while queue:
                await self._write_group(token, _next_group(queue))
        finally:
            del self._queues[token]

    async def _write_group(self, token: str, group: Sequence[_PendingWrite]) -> None:
        try:
            await self._write(token, [event for member in group for event in member.events])
        except Exception as error:  # whatever it is, it belongs to the requests that wait
            if len(group) == 1 or self._is_batch_wide(error):
                _finish(group, error)
                return
            for member in group:  # one of them is to blame: the others must not suffer for it
                await self._write_group(token, [member])
        else:
            _finish(group)


def size_of(events: Sequence[CapturedEvent]) -> int:
    return sum(len(event.properties) + _SIZE_OF_AN_EVENT for event in events)


def _next_group(queue: deque[_PendingWrite]) -> Sequence[_PendingWrite]:
    group = [queue.popleft()]
    size = group[0].size
    while queue and size + queue[0].size <= MAX_GROUP_SIZE:
        group.append(queue.popleft())
        size += group[-1].size
    return group


def _finish(group: Sequence[_PendingWrite], error: Exception | None = None) -> None:
    for member in group:
        if member.written.done():  # its request was given up meanwhile
            continue
        if error is None:
            member.written.set_result(None)
        else:
            member.written.set_exception(error)
