"""Long work on the event loop, in slices between which other requests are served."""

import asyncio
from time import perf_counter
from typing import Final

from app.common.limits import LOOP_MILLISECONDS

_MILLISECONDS: Final = 1_000


class TimeSlices:
    """Measures the current slice. Between short pieces of work: ``if slices.are_over(): await slices.pause()``.

    Work in a thread would delay other requests longer, because a thread competes for the interpreter all the time.
    """

    def __init__(self, seconds: float = LOOP_MILLISECONDS / 2 / _MILLISECONDS) -> None:
        self._seconds = seconds
        self._ends = perf_counter() + seconds

    def are_over(self) -> bool:
        """Whether the current slice is used up."""
        return perf_counter() > self._ends

    async def pause(self) -> None:
        """Let other tasks run, and begin the next slice."""
        await asyncio.sleep(0)
        self._ends = perf_counter() + self._seconds
