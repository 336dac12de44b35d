"""How fast events are copied to ClickHouse while others are stored."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final

_SMALL_BATCH: Final = 20_000  # events, which take a processor a fraction of a second
_LARGE_BATCH: Final = 100_000
_BUSY: Final = 50.0  # events stored in a second: fewer lose nothing to a copy at full speed
_REST: Final = 4.0  # times as long as a batch took
# Seconds. A batch that takes minutes waits for ClickHouse: other projects need not wait four times that.
_LONGEST_REST: Final = 30.0
# Seconds. Less tells nothing about a rate: events are stored in batches, and projects without any take milliseconds.
_SHORTEST_LOOK: Final = 1.0
_FAR_BEHIND: Final = 2_000_000  # events that are to be copied
_LEAD: Final = 1.25  # events copied, of those stored meanwhile, so that a backlog shrinks


class ArchivePace:
    """Lets copies take a fifth of the time while events are stored, and all of it while few are.

    How many are stored is told by the highest sequence number, which grows whatever process or replica stores them.
    Where that fifth is too little and the backlog is large, copies take as much as keeps the backlog from growing.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.clock = clock
        self._wait = wait
        self._looked_at: float | None = None
        self._highest = 0
        self._rate = math.inf  # of events stored in a second; not known yet

    @property
    def batch(self) -> int:
        """How many events to copy next."""
        return _SMALL_BATCH if self._is_busy else _LARGE_BATCH

    @property
    def _is_busy(self) -> bool:
        return self._rate > _BUSY

    def look(self, highest: int) -> None:
        """Take note of the highest sequence number of all events, unless that was done just before."""
        now = self.clock()
        if self._looked_at is not None:
            if now - self._looked_at < _SHORTEST_LOOK:
                return
            self._rate = max(0, highest - self._highest) / (now - self._looked_at)
        self._looked_at, self._highest = now, highest

    async def rest(self, seconds: float, events: int, reached: int | None) -> None:
        """Rest after a batch of events that took some seconds, and ``reached`` a sequence number.

        None stands for work of which nothing may be left behind, however little it is.
        """
        if not self._is_busy:
            return
        rest = min(_REST * seconds, _LONGEST_REST)
        if reached is None or self._highest - reached > _FAR_BEHIND:
            rest = min(rest, events / (_LEAD * self._rate) - seconds)
        if rest > 0:
            await self._wait(rest)
