"""Pieces of work that are done in their order, several at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable


async def work_off(pieces: Iterable[Callable[[], Awaitable[object]]], workers: int) -> None:
    """Do pieces of work, and raise the first of their errors; what the other workers do is done nevertheless."""
    left = iter(pieces)

    async def work() -> None:
        for piece in left:
            await piece()

    ends = await asyncio.gather(*(work() for _ in range(workers)), return_exceptions=True)
    for end in ends:
        if end is not None:
            raise end
