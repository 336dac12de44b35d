"""Work that several may ask for at once, done once for all of them."""

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class SingleFlight:
    """Does pieces of work one at a time for each key; whoever asks before one begins gets its result.

    Who asks while it is under way waits for the next one: what was read before he asked may miss what he knows of. So
    however many ask, nobody waits for more than two runs.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, asyncio.Task[Any]] = {}
        self._turns: weakref.WeakValueDictionary[Hashable, asyncio.Lock] = weakref.WeakValueDictionary()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def result(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return what the work returns or raise what it raises; equal keys must stand for equal work.

        The work goes on when who asked for it has gone: others may be waiting for the same.
        """
        task = self._waiting.get(key)
        if task is None:
            task = self._waiting[key] = asyncio.create_task(self._begin(key, work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        result: T = await asyncio.shield(task)
        return result

    async def _begin(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        async with self._turns.setdefault(key, asyncio.Lock()):
            del self._waiting[key]
            return await work()

    async def close(self) -> None:
        """Stop what nobody waits for any more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)  # which, unlike gather, can be given up while they do not end
