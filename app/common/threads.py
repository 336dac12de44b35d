"""Work that may hold the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], *, if_long: bool) -> T:
    """Return what work returns, from another thread where it takes long.

    Handing it over takes 0.2 milliseconds, and where others work as well several times that: more than most work on
    some thousand rows.
    """
    return await asyncio.to_thread(work) if if_long else work()
