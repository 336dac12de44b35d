"""Slots for heavy work that are shared fairly between owners."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable, Iterator


class FairSlots:
    """A number of slots. One owner has at most all but one; those who wait get a slot in turn, owner by owner."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._most = max(1, count - 1)
        self._used: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    @property
    def free(self) -> int:
        """The slots that are free now."""
        return self._free

    @contextlib.asynccontextmanager
    async def slot(self, owner: Hashable) -> AsyncIterator[None]:
        """Hold a slot, once there is one for the owner."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(owner)
            raise
        try:
            yield
        finally:
            self._release(owner)

    @contextlib.contextmanager
    def spare_slots(self, owner: Hashable, most: int) -> Iterator[int]:
        """Hold further slots and yield their number: at most those that are free now, except one.

        None where an owner waits for a slot already.
        """
        count = 0 if self._waiting else max(0, min(most, self._free - 1, self._most - self._used[owner]))
        self._free -= count
        self._used[owner] += count
        try:
            yield count
        finally:
            self._release(owner, count)

    def _release(self, owner: Hashable, count: int = 1) -> None:
        self._free += count
        self._used[owner] -= count
        if not self._used[owner]:
            del self._used[owner]
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self._grant_to_each():
            pass

    def _grant_to_each(self) -> bool:
        """Grant at most one slot to each owner who waits; return whether one was granted."""
        has_granted = False
        for owner, turns in list(self._waiting.items()):
            while turns and turns[0].done():  # cancelled
                turns.popleft()
            if turns and self._free and self._used[owner] < self._most:
                self._free -= 1
                self._used[owner] += 1
                turns.popleft().set_result(None)
                self._waiting[owner] = self._waiting.pop(owner)  # behind the others
                has_granted = True
            if not turns:
                del self._waiting[owner]
        return has_granted
