"""Group commit: small requests that arrive while a commit is under way share the next one."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from app.common.errors import Unavailable
from app.events.capture.decoding.events import CapturedEvent

# In characters of properties, with an allowance for the other fields of an event.
MAX_WAITING_SIZE = 64 * 1024 * 1024
MAX_GROUP_SIZE = 2 * 1024 * 1024
_EVENT_OVERHEAD = 500

logger = logging.getLogger("abacus")

Write = Callable[[str, Sequence[CapturedEvent]], Awaitable[None]]


class _PendingWrite:
    def __init__(self, events: Sequence[CapturedEvent]) -> None:
        self.events = events
        self.size = size_of(events)
        self.written: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class GroupCommit:
    """Writes the events of one token together, in order of arrival; each request waits until its own are committed.

    No request is delayed to form a group: the first one starts a write at once, and those that arrive meanwhile are the
    next group. A group collects requests for as long as a commit takes, so its size grows with the load.
    """

    def __init__(self, write: Write, is_batch_wide: Callable[[Exception], bool]) -> None:
        self._write = write
        self._is_batch_wide = is_batch_wide
        self._queues: dict[str, deque[_PendingWrite]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._waiting_size = 0

    async def add(self, token: str, events: Sequence[CapturedEvent]) -> None:
        """Write events together with those of other requests; return when they are committed, raise if they are not.

        Raises
        ------
        Unavailable
            Too many events are waiting already; the client should retry.
        """
        pending = _PendingWrite(events)
        if self._waiting_size + pending.size > MAX_WAITING_SIZE:
            logger.warning("events were not stored, because %d MB of others wait", self._waiting_size // 1_000_000)
            raise Unavailable("Too many events are waiting to be stored. Please try again.")
        queue = self._queues.get(token)
        if queue is None:
            queue = self._queues[token] = deque()
            worker = asyncio.create_task(self._work(token, queue))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        queue.append(pending)
        self._waiting_size += pending.size
        try:
            await pending.written
        finally:
            self._waiting_size -= pending.size

    async def close(self) -> None:
        """Wait until all accepted events are written. Cancelling the wait does not cancel the writes."""
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
            await self._write(token, [event for pending in group for event in pending.events])
        except Exception as error:  # any error is raised in the requests that wait
            if len(group) == 1 or self._is_batch_wide(error):
                _finish(group, error)
                return
            for pending in group:  # one request causes the error: the others must not fail with it
                await self._write_group(token, [pending])
        else:
            _finish(group)


def size_of(events: Sequence[CapturedEvent]) -> int:
    return sum(len(event.properties) + _EVENT_OVERHEAD for event in events)


def _next_group(queue: deque[_PendingWrite]) -> Sequence[_PendingWrite]:
    group = [queue.popleft()]
    size = group[0].size
    while queue and size + queue[0].size <= MAX_GROUP_SIZE:
        group.append(queue.popleft())
        size += group[-1].size
    return group


def _finish(group: Sequence[_PendingWrite], error: Exception | None = None) -> None:
    for pending in group:
        if pending.written.done():  # its request was cancelled meanwhile
            continue
        if error is None:
            pending.written.set_result(None)
        else:
            pending.written.set_exception(error)
