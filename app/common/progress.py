"""What long work is under way in this process, so that a timeout can say what took so long."""

import contextlib
import time
from collections.abc import Hashable, Iterator


class Progress:
    def __init__(self) -> None:
        self._running: dict[object, tuple[Hashable, str, float]] = {}

    @contextlib.contextmanager
    def doing(self, owner: Hashable, work: str) -> Iterator[None]:
        """Note a piece of work of an owner while it is done."""
        key = object()
        self._running[key] = (owner, work, time.monotonic())
        try:
            yield
        finally:
            del self._running[key]

    def of(self, owner: Hashable) -> str:
        """Return what is under way for an owner, and for how long."""
        now = time.monotonic()
        found = [(work, now - since) for one, work, since in self._running.values() if one == owner]
        return ", ".join(f"{work} ({seconds:.1f} s)" for work, seconds in found) or "nothing"
