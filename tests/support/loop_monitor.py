"""Measures for how long at a stretch an event loop could not turn, in processor time.

The clock would count what other processes of the machine do, and the time of the loop's thread alone would miss threads
that hold the interpreter, as decoders written in C do. So the processor time of the whole process is read at each turn
of the loop, and a timer lets the loop turn at least every two milliseconds.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_BEAT_SECONDS = 0.002


class Held:
    """The longest stretch so far in which the loop did not turn.

    Threads that run while the loop waits add what they compute between two turns, which is two milliseconds each.
    """

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self._last = time.process_time()

    def turn(self) -> None:
        now = time.process_time()
        self.longest_ms = max(self.longest_ms, (now - self._last) * 1000)
        self._last = now


@contextmanager
def monitor() -> Iterator[Held]:
    """Watch the running event loop until the block ends."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        raise TypeError(f"only asyncio's own event loop can be watched, not {type(loop).__name__}")
    run_once: Callable[[asyncio.BaseEventLoop], None] = asyncio.BaseEventLoop._run_once  # type: ignore[attr-defined]
    beat: asyncio.TimerHandle | None = None

    def keep_turning() -> None:
        nonlocal beat
        beat = loop.call_later(_BEAT_SECONDS, keep_turning)

    def turn(turning: asyncio.BaseEventLoop) -> None:
        if turning is loop:
            held.turn()
        run_once(turning)

    asyncio.BaseEventLoop._run_once = turn  # type: ignore[attr-defined]  # private, and the only place that sees all
    keep_turning()
    held = Held()
    try:
        yield held
    finally:
        held.turn()
        asyncio.BaseEventLoop._run_once = run_once  # type: ignore[attr-defined]
        if beat is not None:
            beat.cancel()
