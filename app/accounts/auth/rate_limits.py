"""Sliding-window rate limits, per process: each of several processes allows as many requests."""

import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

_HOUR: Final = 3600.0


@dataclass(frozen=True)
class RateLimit:
    """How many requests are allowed in any minute and in any hour."""

    name: str
    per_minute: int
    per_hour: int


GENERAL: Final = RateLimit("general", 480, 4_800)
ANALYTICS: Final = RateLimit("analytics", 240, 1_200)
LOCAL_EVALUATION: Final = RateLimit("local evaluation", 600, 36_000)  # all servers of a fleet share a key


class RateLimiter:
    """Counts the requests of callers. Refused requests do not count; changes of the system clock have no effect."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logs: dict[Hashable, deque[float]] = {}
        self._pruned_at = clock()

    def count(self, limit: RateLimit, caller: Hashable) -> float:
        """Count a request and return 0, or return the seconds that the caller has to wait."""
        now = self._clock()
        self._forget_idle(now)
        log = self._logs.setdefault((limit.name, caller), deque(maxlen=limit.per_hour))
        windows = ((limit.per_minute, 60.0), (limit.per_hour, _HOUR))
        wait = max((log[-count] + seconds - now for count, seconds in windows if len(log) >= count), default=0.0)
        if wait > 0:
            return wait
        log.append(now)
        return 0.0

    def _forget_idle(self, now: float) -> None:
        """Drop the logs without recent requests, once an hour; otherwise memory would grow with every caller."""
        if now - self._pruned_at < _HOUR:
            return
        self._pruned_at = now
        self._logs = {caller: log for caller, log in self._logs.items() if log[-1] > now - _HOUR}
