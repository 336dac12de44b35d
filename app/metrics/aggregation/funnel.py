"""Funnels: how far each actor got, counted from their attempts.

``ordered_funnel``, ``strict_funnel`` and ``unordered_funnel`` find the attempts, each by its own rule for the order of
steps. From there on all funnels are one: an actor's result is that of their best attempts, under the variant that the
actor named first.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.conversion_times import ConversionTimes, StoredTimes
from app.metrics.aggregation.counts import Counts
from app.metrics.aggregation.numbering import first_of, numbered
from app.metrics.facts.columns import NO_VARIANT, FactColumns

WindowUnit: TypeAlias = Literal["second", "minute", "hour", "day", "week", "month"]

WINDOW_UNITS: tuple[WindowUnit, ...] = ("minute", "hour", "day", "week", "month")  # of the 2022 API

_SECOND = 1_000_000  # microseconds
_UNITS = {
    "second": _SECOND,
    "minute": 60 * _SECOND,
    "hour": 3_600 * _SECOND,
    "day": 86_400 * _SECOND,
    "week": 604_800 * _SECOND,
}
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class ConversionWindow:
    """How long after its start an attempt may take; months follow the calendar (31 January + 1 month = 28 February)."""

    interval: int
    unit: WindowUnit

    def ends(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the last microsecond of the window of each start."""
        if self.unit == "month":
            return _add_months(times, self.interval)
        return times + self.interval * _UNITS[self.unit]


def _add_months(times: NDArray[np.int64], months: int) -> NDArray[np.int64]:
    """Add calendar months in UTC; a day that the target month lacks becomes that month's last day."""
    moments = times.astype("datetime64[us]")
    days = moments.astype("datetime64[D]")
    month = moments.astype("datetime64[M]")
    day_of_month = (days - month.astype("datetime64[D]")).astype(np.int64)
    target = month + np.timedelta64(months, "M")
    length = ((target + np.timedelta64(1, "M")).astype("datetime64[D]") - target.astype("datetime64[D]")).astype(
        np.int64
    )
    moved = target.astype("datetime64[D]") + np.minimum(day_of_month, length - 1).astype("timedelta64[D]")
    time_of_day = moments - days.astype("datetime64[us]")
    return np.asarray((moved.astype("datetime64[us]") + time_of_day).astype(np.int64))


@dataclass(frozen=True)
class Actors:
    """The actors of some facts, numbered from 0.

    Attributes
    ----------
    number : int64[facts]
        The number of each fact's actor.
    variant : int32[actors]
        The variant that each actor named first; of several at one moment, the one that arrived first.
    named : int64[actors]
        When that was, in microseconds since 1970 UTC; ``NEVER`` for actors that named no variant.
    """

    number: NDArray[np.int64]
    variant: NDArray[np.int32]
    named: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.variant)

    @classmethod
    def of(cls, facts: FactColumns) -> Self:
        actors, number = numbered(facts.actor)
        rows = np.flatnonzero(facts.variant != NO_VARIANT)
        named = first_of(number[rows], facts.time[rows], len(actors))
        rows = rows[facts.time[rows] == named[number[rows]]]
        arrival = first_of(number[rows], facts.sequence[rows], len(actors))
        rows = rows[facts.sequence[rows] == arrival[number[rows]]]
        variant = np.full(len(actors), NO_VARIANT, dtype=np.int32)
        variant[number[rows[::-1]]] = facts.variant[rows[::-1]]  # of one event in several series, the first series
        return cls(number, variant, named)


@dataclass(frozen=True)
class Attempts:
    """Every way in which actors went through a funnel of n steps, without those that an exclusion disqualifies.

    Attributes
    ----------
    actor : int64[attempts]
        Whose attempt it is: a number of ``actors``.
    times : int64[n, attempts]
        When each step was found, within the conversion window or not, in microseconds since 1970 UTC; else ``NEVER``.
    reached : int64[attempts]
        How many steps count as reached, at least 1.
    """

    actors: Actors
    actor: NDArray[np.int64]
    times: NDArray[np.int64]
    reached: NDArray[np.int64]
    window: ConversionWindow

    @property
    def step_count(self) -> int:
        return len(self.times)

    def seconds_to(self, step: int, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the whole seconds from the step before of some attempts, all of which reached the step."""
        before, now = self.times[step - 1][chosen], self.times[step][chosen]
        return np.asarray(now // _SECOND - before // _SECOND, dtype=np.float64)


@dataclass(frozen=True)
class FunnelCounts(Counts):
    """A funnel of n steps for k variants. Counts of different actors can be added and subtracted.

    Attributes
    ----------
    reached : int64[k + 2, n]
        Actors that reached at least the step: the first row for actors that name no variant, the last row for actors
        that name a variant the flag does not have.
    times : object[k, n - 1] of ConversionTimes
        From each step to the next.
    """

    reached: NDArray[np.int64]
    times: NDArray[np.object_]

    @property
    def of_variants(self) -> NDArray[np.int64]:
        """The rows of ``reached`` that belong to the variants, int64[k, n]."""
        return self.reached[1:-1]

    @property
    def without_variant(self) -> int:
        """Actors that entered and named no variant."""
        return int(self.reached[NO_VARIANT, 0])

    @property
    def other_variant(self) -> int:
        """Actors that entered and named a variant that the flag does not have."""
        return int(self.reached[-1, 0])

    @property
    def average_conversion_time(self) -> NDArray[np.float64]:
        """Seconds from the step before, averaged over the actors that reached the step, float64[k, n].

        Nan for the first step and without actors. The average of an actor's best attempts counts as one value.
        """
        return self._over_actors(lambda times: times.average)

    @property
    def median_conversion_time(self) -> NDArray[np.float64]:
        """As ``average_conversion_time``; the median."""
        return self._over_actors(lambda times: times.median)

    def _over_actors(self, summary: Callable[[ConversionTimes], float]) -> NDArray[np.float64]:
        return np.array([[math.nan, *map(summary, row)] for row in self.times]).reshape(self.of_variants.shape)

    def to_bytes(self) -> bytes:
        times = [[times.to_stored() for times in row] for row in self.times]
        return msgspec.msgpack.encode(_StoredCounts(self.reached.tolist(), times))

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        stored = msgspec.msgpack.decode(body, type=_StoredCounts)
        reached = np.array(stored.reached, dtype=np.int64)
        times = [[ConversionTimes.from_stored(times) for times in row] for row in stored.times]
        return cls(reached, np.array(times, dtype=np.object_).reshape(len(reached) - 2, reached.shape[1] - 1))


class _StoredCounts(msgspec.Struct, array_like=True):
    reached: list[list[int]]
    times: list[list[StoredTimes]]


def count_funnel(attempts: Attempts, variant_count: int) -> FunnelCounts:
    """Count a funnel from the attempts of its actors.

    Parameters
    ----------
    variant_count : int
        k: variants are numbered from 1 to k in the facts.
    """
    actors, steps = attempts.actors, attempts.step_count
    best = np.zeros(len(actors), dtype=np.int64)
    np.maximum.at(best, attempts.actor, attempts.reached)
    is_best = attempts.reached == best[attempts.actor]
    reached = np.zeros((variant_count + 2, steps), dtype=np.int64)
    times = np.empty((variant_count, steps - 1), dtype=np.object_)
    for step in range(steps):
        reached[:, step] = np.bincount(actors.variant[best > step], minlength=variant_count + 2)
    for step in range(1, steps):
        converted = is_best & (attempts.reached > step)
        actor, average, median = _average_and_median(attempts.actor[converted], attempts.seconds_to(step, converted))
        for slot in range(variant_count):
            of_variant = actors.variant[actor] == slot + 1
            times[slot, step - 1] = ConversionTimes.of(average[of_variant], median[of_variant])
    return FunnelCounts(reached, times)


def _average_and_median(
    actor: NDArray[np.int64], seconds: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return each actor with the average and the median of the actor's values."""
    order = np.lexsort((seconds, actor))
    seconds = seconds[order]
    actors, first, count = np.unique(actor[order], return_index=True, return_counts=True)
    if not len(actors):
        return actors, np.empty(0), np.empty(0)
    average = np.add.reduceat(seconds, first) / count
    median = (seconds[first + (count - 1) // 2] + seconds[first + count // 2]) / 2
    return actors, average, median
