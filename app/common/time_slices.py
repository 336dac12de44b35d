"""Long work on the event loop, in slices between which other requests are served."""

import asyncio
import time
from typing import Final

from app.common.limits import LOOP_MILLISECONDS

_MILLISECONDS: Final = 1_000


class TimeSlices:
    """Measures the current slice: call ``pause`` between short pieces of work.

    Work in a thread would delay other requests longer, because a thread competes for the interpreter all the time.
    """

    def __init__(self, seconds: float = LOOP_MILLISECONDS / 2 / _MILLISECONDS) -> None:
        self._seconds = seconds
        self._ends = time.perf_counter() + seconds

    async def pause(self) -> None:
        """Let other tasks run if the slice is used up."""
        if time.perf_counter() > self._ends:
            await asyncio.sleep(0)
            self._ends = time.perf_counter() + self._seconds
