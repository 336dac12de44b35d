"""A number of bytes that requests share, so that many large ones at once do not need more memory than a few."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator


class ByteBudget:
    """Bytes of which requests hold a part each; one that needs more than are left waits, in the order of coming."""

    def __init__(self, total: int) -> None:
        self._total = self._left = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator["HeldBytes"]:
        """Hold some bytes, once they are left; more than there are in all count as all."""
        held = HeldBytes(self, min(size, self._total))
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((held.size, turn))
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(held.size)
            else:
                self._grant()  # what comes next may be small enough
            raise
        try:
            yield held
        finally:
            held.shrink(0)

    def give_back(self, size: int) -> None:
        """Let others have bytes that were held."""
        self._left += size
        self._grant()

    def _grant(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._left):
            size, turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled
                self._left -= size
                turn.set_result(None)


class HeldBytes:
    """The bytes of a budget that a request holds."""

    def __init__(self, budget: ByteBudget, size: int) -> None:
        self._budget = budget
        self.size = size

    def shrink(self, size: int) -> None:
        """Give back all but ``size`` bytes."""
        if size < self.size:
            given, self.size = self.size - size, size
            self._budget.give_back(given)
