"""How much of a process results may take."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from app.errors import Unavailable


class ResultsLimit:
    """Lets a few results be worked out at a time, and an answer not take for ever.

    Each of them holds at most one connection of each pool at a time. As many as are let in leave two of each to those
    who send events, ask for flags or change something, however many wait for results.

    Parameters
    ----------
    pool_size : int
        Connections of each pool.
    timeout : float
        Seconds that one answer may take, the wait for its turn included.
    """

    def __init__(self, pool_size: int, timeout: float) -> None:
        self.turns = asyncio.Semaphore(max(1, pool_size - 2))
        self._timeout = timeout

    @contextlib.asynccontextmanager
    async def answer(self) -> AsyncIterator[None]:
        """Wait for a turn and have it until the block ends.

        Raises
        ------
        Unavailable
            It takes too long. What has been matched and counted so far is kept, so that the next attempt goes on there.
        """
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline, self.turns:
                yield
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise Unavailable("Results are still being counted. Please try again.", retry_after=10) from error
