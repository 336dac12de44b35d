"""Single flight: concurrent calls for the same work share one run."""

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class SingleFlight:
    """Runs work one at a time for each key; all callers that arrive before a run begins share its result.

    A caller that arrives during a run waits for the next run, because the current one may not have seen the caller's
    own writes. So no caller waits for more than two runs.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, asyncio.Task[Any]] = {}
        self._locks: weakref.WeakValueDictionary[Hashable, asyncio.Lock] = weakref.WeakValueDictionary()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def result(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return what the work returns or raise what it raises; equal keys must stand for equal work.

        The run continues when a caller is cancelled, because others may be waiting for it.
        """
        task = self._waiting.get(key)
        if task is None:
            task = self._waiting[key] = asyncio.create_task(self._begin(key, work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        result: T = await asyncio.shield(task)
        return result

    async def _begin(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        async with self._locks.setdefault(key, asyncio.Lock()):
            del self._waiting[key]
            return await work()

    async def close(self) -> None:
        """Cancel all runs, at the end of the process."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)  # unlike gather, it can be cancelled while they run
