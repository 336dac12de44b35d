"""Long work on the event loop, in slices that take turns, so that other requests are served between them."""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from time import perf_counter, thread_time
from typing import Final, TypeVar

from app.common.limits import SLICE_MILLISECONDS

_MILLISECONDS: Final = 1_000
Item = TypeVar("Item")
_SECONDS: Final = SLICE_MILLISECONDS / _MILLISECONDS


class _Turns:
    """Grants one slice of long work at each turn of an event loop, in the order in which they were asked for.

    A request of others needs tens of turns of the loop. So it is delayed by as many slices, and not by as many for each
    of the requests that do long work.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_granting = False
        self._rest = 0.0

    async def next(self, rest: float) -> None:
        """Wait for a turn; before the next one is granted, the loop is left to others for ``rest`` seconds."""
        loop = asyncio.get_running_loop()
        if not self._is_granting and not rest:  # nobody else works long: a turn of the loop is enough
            self._schedule(loop)
            await asyncio.sleep(0)
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        self._rest += rest
        if not self._is_granting:
            self._schedule(loop)
        await turn

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_granting = True
        rest, self._rest = self._rest, 0.0
        if rest:
            loop.call_later(rest, self._grant, loop)
        else:
            loop.call_soon(self._grant, loop)

    def _grant(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_granting = False
        while self._waiting and not self._rest:
            turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled
                turn.set_result(None)
                break
        if self._waiting:
            self._schedule(loop)


_turns: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns]] = weakref.WeakKeyDictionary()


class TimeSlices:
    """Measures the current slice. Between short pieces of work: ``if slices.are_over(): await slices.pause()``.

    With ``rests``, long work of the process rests after a slice for as long as that took the processor: it is for work
    whose pieces may take longer than a slice, and which waits for nothing between two pauses.
    """

    def __init__(self, seconds: float = _SECONDS, *, rests: bool = False) -> None:
        self._seconds = seconds
        self._rests = rests
        self._begin()

    def are_over(self) -> bool:
        """Whether the current slice is used up."""
        return perf_counter() > self._ends

    async def pause(self) -> None:
        """Let other tasks run, and begin the next slice when it is its turn."""
        turns = _turns.setdefault(asyncio.get_running_loop(), _Turns())
        await turns.next(thread_time() - self._began if self._rests else 0.0)
        self._begin()

    def _begin(self) -> None:
        self._began = thread_time() if self._rests else 0.0
        self._ends = perf_counter() + self._seconds


async def in_slices(items: AsyncIterable[Item]) -> AsyncIterator[Item]:
    """Yield items, and pause between them, so that what is done with each is done in slices.

    Rows of a database come without a pause as long as there are any in the driver's buffer, or in SQLite's file.
    """
    slices = TimeSlices()
    async for item in items:
        yield item
        if slices.are_over():
            await slices.pause()
