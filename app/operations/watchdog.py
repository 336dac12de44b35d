"""A watchdog: it ends a process whose event loop stands still, so that a supervisor starts another."""

import asyncio
import contextlib
import faulthandler
from collections.abc import AsyncIterator

_BEATS = 10  # in the time after which the loop counts as stuck


@contextlib.asynccontextmanager
async def watch(seconds: float) -> AsyncIterator[None]:
    """End the process, with the stack of every thread on standard error, when its loop stands still for ``seconds``.

    The clock runs in a thread of the C library's: it also sees a loop that holds the interpreter. A ping from outside,
    which a thread of its own would answer, sees neither. 0 turns the watchdog off.
    """
    if not seconds:
        yield
        return
    heart = asyncio.create_task(_beat(seconds))
    try:
        yield
    finally:
        heart.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await heart
        faulthandler.cancel_dump_traceback_later()


async def _beat(seconds: float) -> None:
    while True:
        faulthandler.dump_traceback_later(seconds, exit=True)
        await asyncio.sleep(seconds / _BEATS)
