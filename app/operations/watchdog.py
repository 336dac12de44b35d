"""A watchdog: it ends a process whose event loop stands still, so that a supervisor starts another."""

import asyncio
import contextlib
import faulthandler
from collections.abc import AsyncIterator

_STANDARD_ERROR = 2  # the file, whatever stands for it in this process
_BEATS = 10  # in the time after which the loop counts as stuck


@contextlib.asynccontextmanager
async def watch(seconds: float) -> AsyncIterator[None]:
    """End the process, with the stack of every thread on standard error, when its loop stands still for ``seconds``.

    ``faulthandler`` measures the time in a thread that does not need the interpreter, so that it also sees a call that
    never gives the interpreter back. The time that a process is frozen (``docker pause``, SIGSTOP) counts too.
    0 turns the watchdog off.
    """
    if not seconds:
        yield
        return
    _rearm(seconds)
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
        await asyncio.sleep(seconds / _BEATS)
        _rearm(seconds)


def _rearm(seconds: float) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True, file=_STANDARD_ERROR)
