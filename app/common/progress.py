"""What long work is under way in this process, and how far it got, for those who wait."""

import contextlib
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence


class Progress:
    def __init__(self) -> None:
        self._running: dict[object, tuple[Hashable, str, float]] = {}
        self._measured: dict[object, tuple[Hashable, dict[Hashable, tuple[int, int]]]] = {}

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

    @contextlib.contextmanager
    def measuring(self, owner: Hashable, parts: Mapping[Hashable, tuple[int, int]]) -> Iterator[None]:
        """Note the parts of a piece of work while it is done: for each, how far it is and how far it has to get."""
        key = object()
        self._measured[key] = (owner, dict(parts))
        try:
            yield
        finally:
            del self._measured[key]

    def reach(self, owner: Hashable, part: Hashable, done: int) -> None:
        """Note how far a part of an owner's work is."""
        for one, parts in self._measured.values():
            if one == owner and part in parts:
                parts[part] = (done, parts[part][1])

    def percent(self, owner: Hashable) -> int | None:
        """Return how much of an owner's measured work is done, rounded down; None where none is under way."""
        parts = self._parts(owner)
        total = sum(total for _, total in parts)
        return sum(min(part) for part in parts) * 100 // total if total else None

    def done(self, owner: Hashable) -> int:
        """Return how far an owner's measured work is, which only grows while it is under way; 0 where none is."""
        return sum(done for done, _ in self._parts(owner))

    def _parts(self, owner: Hashable) -> Sequence[tuple[int, int]]:
        return [part for one, found in self._measured.values() if one == owner for part in found.values()]
