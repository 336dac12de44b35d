"""Funnels over time: when each actor first reached each step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.counts import BucketedCounts
from app.metrics.aggregation.funnel import NEVER, Attempts
from app.metrics.facts.columns import NO_VARIANT


@dataclass(frozen=True)
class FunnelProgress(BucketedCounts):
    """A funnel of n steps for k variants over b buckets of time.

    Attributes
    ----------
    reached : int64[n, k, b]
        Actors that reached at least the step for the first time in the bucket, having named their variant. Everything
        that is known about them today is applied: their variant, and which of their attempts do not count.
    """

    reached: NDArray[np.int64]

    @property
    def cumulative(self) -> NDArray[np.int64]:
        """Actors that had reached each step by the end of each bucket, int64[n, k, b]."""
        return np.cumsum(self.reached, axis=2)


@dataclass(frozen=True)
class AdjustedProgress(FunnelProgress):
    """A funnel of persons who may have done the same before.

    Attributes
    ----------
    before : int64[2, k, b]
        Those who had done all steps before, by the bucket in which they enter; and those of them who do all of them
        again, by the bucket in which they reach the last one.
    """

    before: NDArray[np.int64]

    bucketed = ("reached", "before")


def count_progress(attempts: Attempts, ticks: Ticks, variant_count: int) -> FunnelProgress:
    """Count when actors reached the steps of a funnel.

    An actor has reached a step from the moment on at which the actor was there and had named a variant, whichever is
    later.
    """
    actors, steps = attempts.actors, attempts.step_count
    first = np.full((steps, len(actors)), NEVER, dtype=np.int64)
    for place, (row, times) in enumerate(zip(first, attempts.times, strict=True)):
        is_reached = attempts.reached > place
        np.minimum.at(row, attempts.actor[is_reached], times[is_reached])
    known = (actors.variant > NO_VARIANT) & (actors.variant <= variant_count)
    slot = actors.variant[known].astype(np.int64) - 1
    first = np.maximum(first[:, known], actors.named[known])
    reached = np.zeros((steps, variant_count, len(ticks)), dtype=np.int64)
    for row, times in zip(reached, first, strict=True):
        got_there = times != NEVER
        np.add.at(row, (slot[got_there], ticks.bucket(times[got_there])), 1)
    return FunnelProgress(reached)
