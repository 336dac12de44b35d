"""How a funnel grew: when each actor got to each step first. Pure."""

from dataclasses import dataclass
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.funnel import NEVER, Tries
from app.metrics.facts.columns import NO_VARIANT


class _Stored(msgspec.Struct, array_like=True):
    shape: tuple[int, int, int]
    reached: bytes


@dataclass(frozen=True)
class FunnelProgress:
    """A funnel of n steps for k variants over b buckets of time.

    Attributes
    ----------
    reached : int64[n, k, b]
        Actors that got to at least the step for the first time in the bucket, having named their variant. Everything
        that is known about them today is applied: their variant, and which of their tries do not count.
    """

    reached: NDArray[np.int64]

    @property
    def cumulative(self) -> NDArray[np.int64]:
        """Actors that had got to each step by the end of each bucket, int64[n, k, b]."""
        return np.cumsum(self.reached, axis=2)

    def __add__(self, other: Self) -> Self:
        """Add counts of other actors."""
        return type(self)(self.reached + other.reached)

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.reached - other.reached)

    def widened(self, buckets: int) -> Self | None:
        """Return the same counts with empty buckets at the end, as time has gone on; None where it has gone back."""
        missing = buckets - self.reached.shape[2]
        return None if missing < 0 else type(self)(np.pad(self.reached, ((0, 0), (0, 0), (0, missing))))

    def to_bytes(self) -> bytes:
        first, second, third = self.reached.shape
        return msgspec.msgpack.encode(_Stored((first, second, third), self.reached.tobytes()))

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        stored = msgspec.msgpack.decode(body, type=_Stored)
        return cls(np.frombuffer(stored.reached, dtype=np.int64).reshape(stored.shape))


def count_progress(tries: Tries, ticks: Ticks, variant_count: int) -> FunnelProgress:
    """Count when actors got to the steps of a funnel.

    An actor is somewhere from the moment on at which it has been there and has named its variant, whichever is later.
    """
    step_count = len(tries.times)
    first = np.full((step_count, len(tries.variant)), NEVER, dtype=np.int64)
    for step, times in zip(first, tries.times, strict=True):
        np.minimum.at(step, tries.actor, times)
    known = (tries.variant > NO_VARIANT) & (tries.variant <= variant_count)
    slot = tries.variant[known].astype(np.int64) - 1
    first = np.maximum(first[:, known], tries.named[known])
    reached = np.zeros((step_count, variant_count, len(ticks)), dtype=np.int64)
    for row, times in zip(reached, first, strict=True):
        got_there = times != NEVER
        np.add.at(row, (slot[got_there], ticks.bucket(times[got_there])), 1)
    return FunnelProgress(reached)
