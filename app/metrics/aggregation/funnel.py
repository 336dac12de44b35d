"""Ordered funnels: how far each actor gets, under the variant that was named first.

Every event of the first step is a start. From a start each further step is the first of its events at or after the one
before, and counts if it happens within the conversion window, measured from the start. An actor's result is that of its
best start.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.conversion_times import ConversionTimes, StoredTimes
from app.metrics.facts.columns import NO_VARIANT, FactColumns, concatenate

WindowUnit: TypeAlias = Literal["minute", "hour", "day", "week", "month"]

WINDOW_UNITS: tuple[WindowUnit, ...] = ("minute", "hour", "day", "week", "month")

_SECOND = 1_000_000  # microseconds
_UNITS = {"minute": 60 * _SECOND, "hour": 3_600 * _SECOND, "day": 86_400 * _SECOND, "week": 604_800 * _SECOND}
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class ConversionWindow:
    """How long after its start a try may take; months follow the calendar (31 January + 1 month = 28 February)."""

    interval: int
    unit: WindowUnit

    def ends(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the last microsecond of the window of each start."""
        if self.unit == "month":
            return _add_months(times, self.interval)
        return times + self.interval * _UNITS[self.unit]


@dataclass(frozen=True)
class FunnelStep:
    """The facts of a step. ``repeats_previous``: its events count for the step before too, so it needs a later one."""

    facts: FactColumns
    repeats_previous: bool = False


@dataclass(frozen=True)
class FunnelExclusion:
    """Facts that, strictly between two steps of a try, disqualify its start."""

    facts: FactColumns
    from_step: int
    to_step: int


@dataclass(frozen=True)
class FunnelCounts:
    """A funnel of n steps for k variants. Counts of different actors can be added, and taken away again.

    Attributes
    ----------
    reached : int64[k + 2, n]
        Actors that got at least to the step: in row 0 those that name no variant, in the last row those whose variant
        is none of the flag's.
    times : k rows of n - 1 ConversionTimes
        From each step to the next.
    """

    reached: NDArray[np.int64]
    times: Sequence[Sequence[ConversionTimes]]

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
        """Actors that entered and named none of the flag's variants."""
        return int(self.reached[-1, 0])

    @property
    def average_conversion_time(self) -> NDArray[np.float64]:
        """Seconds from the step before, over actors, float64[k, n]; nan for the first step and where nobody has one."""
        return self._over_actors(lambda times: times.average)

    @property
    def median_conversion_time(self) -> NDArray[np.float64]:
        """As ``average_conversion_time``; the median."""
        return self._over_actors(lambda times: times.median)

    def _over_actors(self, summary: Callable[[ConversionTimes], float]) -> NDArray[np.float64]:
        return np.array([[math.nan, *map(summary, row)] for row in self.times]).reshape(self.of_variants.shape)

    def __add__(self, other: Self) -> Self:
        return self._combined(other, operator.add)

    def __sub__(self, other: Self) -> Self:
        return self._combined(other, operator.sub)

    def _combined(self, other: Self, combine: Callable[[Any, Any], Any]) -> Self:
        times = [
            [combine(mine, theirs) for mine, theirs in zip(*rows, strict=True)]
            for rows in zip(self.times, other.times, strict=True)
        ]
        return type(self)(combine(self.reached, other.reached), times)

    def to_bytes(self) -> bytes:
        times = [[times.to_stored() for times in row] for row in self.times]
        return msgspec.msgpack.encode(_StoredCounts(self.reached.tolist(), times))

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        stored = msgspec.msgpack.decode(body, type=_StoredCounts)
        times = [[ConversionTimes.from_stored(times) for times in row] for row in stored.times]
        return cls(np.array(stored.reached, dtype=np.int64), times)


class _StoredCounts(msgspec.Struct, array_like=True):
    reached: list[list[int]]
    times: list[list[StoredTimes]]


def aggregate_funnel(
    steps: Sequence[FunnelStep], exclusions: Sequence[FunnelExclusion], window: ConversionWindow, variant_count: int
) -> FunnelCounts:
    """Count a funnel.

    Parameters
    ----------
    steps : sequence of FunnelStep
        At least one.
    variant_count : int
        k: variants are numbered from 1 to k in the facts.

    Notes
    -----
    Rows are the distinct moments of each actor, so events at one moment need no special case: they all happen "at or
    after" each other. Moments are numbered by ``actor * span + time``; in this order the minimum over all following
    rows is the actor's next event of a step, or belongs to a later actor and means there is none.
    """
    if not steps:
        raise ValueError("a funnel needs at least one step, got none")
    timeline = _Timeline.of([step.facts for step in steps] + [exclusion.facts for exclusion in exclusions])
    starts = _follow(timeline, steps, exclusions, window)
    return _summarize(timeline, starts, len(steps), variant_count)


@dataclass(frozen=True)
class Tries:
    """Every way in which actors went through a funnel of n steps.

    Attributes
    ----------
    actor : int64[tries]
        Whose try it is: a number from 0.
    times : int64[n, tries]
        When each step was reached, in microseconds since 1970 UTC; ``NEVER`` if it was not.
    variant : int32[actors]
        The variant that each actor belongs to.
    named : int64[actors]
        When the actor named it; anything for those that name none.
    """

    actor: NDArray[np.int64]
    times: NDArray[np.int64]
    variant: NDArray[np.int32]
    named: NDArray[np.int64]


def ordered_tries(
    steps: Sequence[FunnelStep], exclusions: Sequence[FunnelExclusion], window: ConversionWindow
) -> Tries:
    """Return the tries that ``aggregate_funnel`` counts."""
    timeline = _Timeline.of([step.facts for step in steps] + [exclusion.facts for exclusion in exclusions])
    starts = _follow(timeline, steps, exclusions, window)
    is_reached = np.arange(len(steps))[:, np.newaxis] < starts.steps
    times = np.where(is_reached, timeline.times(starts.moments), NEVER)
    return Tries(starts.actor, times, timeline.variant, timeline.named)


@dataclass(frozen=True)
class _Timeline:
    """Distinct moments of actors in ascending order, and what happened at each."""

    actor: NDArray[np.int64]  # [rows], dense numbers
    moment: NDArray[np.int64]  # [rows], actor * span + time since the first event
    end: NDArray[np.int64]  # [rows], where the next actor's moments begin
    happened: NDArray[np.bool_]  # [sources, rows]
    origin: int  # time of the first event
    span: int
    variant: NDArray[np.int32]  # [actors], named first
    named: NDArray[np.int64]  # [actors], when; the first event for those that name none

    @classmethod
    def of(cls, sources: Sequence[FactColumns]) -> "_Timeline":
        facts = concatenate(sources)
        source = np.repeat(np.arange(len(sources)), [len(part) for part in sources])
        actors, actor = np.unique(facts.actor, return_inverse=True)
        origin = int(facts.time.min()) if len(facts) else 0
        span = int(facts.time.max()) - origin + 1 if len(facts) else 1
        if len(actors) * span >= NEVER:
            raise ValueError(f"{len(actors)} actors over {span} microseconds are too many to number their moments")
        key = actor.astype(np.int64) * span + (facts.time - origin)
        moment, row = np.unique(key, return_inverse=True)
        happened = np.zeros((len(sources), len(moment)), dtype=np.bool_)
        happened[source, row] = True
        of_row = moment // span
        variant, named = _first_touch(key, facts, span, len(actors))
        return cls(of_row, moment, (of_row + 1) * span, happened, origin, span, variant, named % span + origin)

    def times(self, moments: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return microseconds since 1970 UTC of moments."""
        return moments % self.span + self.origin


def _first_touch(
    key: NDArray[np.int64], facts: FactColumns, span: int, actor_count: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the variant that each actor names first, of several at one moment the one that arrived first; and when."""
    named = np.flatnonzero(facts.variant != NO_VARIANT)
    named = named[np.lexsort((facts.sequence[named], key[named]))]
    actors, first = np.unique(key[named] // span, return_index=True)
    variant = np.full(actor_count, NO_VARIANT, dtype=np.int32)
    variant[actors] = facts.variant[named[first]]
    moment = np.zeros(actor_count, dtype=np.int64)
    moment[actors] = key[named[first]]
    return variant, moment


@dataclass(frozen=True)
class _Starts:
    """The tries that are left after exclusions: whose they are, how far they got and how long each step took."""

    actor: NDArray[np.int64]  # [tries]
    steps: NDArray[np.int64]  # [tries], steps reached, at least 1
    moments: NDArray[np.int64]  # [n, tries], when each step was found, in time or not; NEVER if it was not
    seconds: NDArray[np.float64]  # [n - 1, tries], from step to step; nan where a step was not found in time


def _follow(
    timeline: _Timeline, steps: Sequence[FunnelStep], exclusions: Sequence[FunnelExclusion], window: ConversionWindow
) -> _Starts:
    """Find each start's further steps.

    The next event of every step is looked up for every moment, then steps are dropped that would come before the one
    they follow, from the last pair of steps to the first.
    """
    count = len(steps)
    found = [np.where(row, timeline.moment, NEVER) for row in timeline.happened]
    following, excluding = found[:count], found[count:]

    def spread(first: int) -> None:
        for step in range(first, count):
            following[step] = _next(timeline, following[step], later=steps[step].repeats_previous)
        for index, exclusion in enumerate(exclusions):
            if exclusion.from_step + 1 >= first:
                excluding[index] = _next(timeline, excluding[index], later=False)

    spread(1)
    for first in range(count - 1, 1, -1):
        before = following[first - 1]
        for step in range(first, count):
            following[step] = _not_before(following[step], before)
        for index, exclusion in enumerate(exclusions):
            if exclusion.from_step + 1 >= first:
                excluding[index] = _not_before(excluding[index], following[exclusion.from_step])
        spread(first)

    rows = np.flatnonzero(timeline.happened[0])
    moments = [row[rows] for row in following]
    disqualified = np.zeros(len(rows), dtype=np.bool_)
    for index, exclusion in enumerate(exclusions):
        after = moments[exclusion.from_step]
        until = np.where(
            moments[exclusion.to_step] != NEVER, moments[exclusion.to_step], _window_ends(timeline, after, window)
        )
        disqualified |= (excluding[index][rows] > after) & (excluding[index][rows] < until) & (after != NEVER)
    kept = ~disqualified
    moments = [row[kept] for row in moments]
    return _Starts(
        timeline.actor[rows][kept],
        _steps_reached(timeline, moments, steps, window),
        np.array(moments),
        np.array([_seconds(timeline, *pair, window) for pair in pairwise(moments)]).reshape(count - 1, len(moments[0])),
    )


def _next(timeline: _Timeline, moments: NDArray[np.int64], *, later: bool) -> NDArray[np.int64]:
    """Return the earliest of the moments at each row and the rows after it (``later``: only after it)."""
    nearest = np.minimum.accumulate(moments[::-1])[::-1]
    if later:
        nearest = np.append(nearest[1:], NEVER)
    return np.where(nearest < timeline.end, nearest, NEVER)


def _not_before(moments: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where((before != NEVER) & (moments < before), NEVER, moments)


def _window_ends(timeline: _Timeline, moments: NDArray[np.int64], window: ConversionWindow) -> NDArray[np.int64]:
    """Return the moment at which the window of each moment ends; never for a moment that never comes."""
    times = timeline.times(moments)
    return np.where(moments == NEVER, NEVER, moments + (window.ends(times) - times))


def _steps_reached(
    timeline: _Timeline, moments: Sequence[NDArray[np.int64]], steps: Sequence[FunnelStep], window: ConversionWindow
) -> NDArray[np.int64]:
    deadline = _window_ends(timeline, moments[0], window)
    reached = np.ones(len(moments[0]), dtype=np.int64)
    going_on = np.ones(len(moments[0]), dtype=np.bool_)
    for step in range(1, len(moments)):
        before, now = moments[step - 1], moments[step]
        in_order = now > before if steps[step].repeats_previous else now >= before
        going_on &= (now != NEVER) & in_order & (now <= deadline)
        reached += going_on
    return reached


def _seconds(
    timeline: _Timeline, before: NDArray[np.int64], now: NDArray[np.int64], window: ConversionWindow
) -> NDArray[np.float64]:
    """Return whole seconds between two steps that follow each other within a window; nan for others."""
    in_time = (before != NEVER) & (now != NEVER) & (now <= _window_ends(timeline, before, window))
    seconds = timeline.times(now) // _SECOND - timeline.times(before) // _SECOND
    return np.where(in_time, seconds.astype(np.float64), np.nan)


def _summarize(timeline: _Timeline, starts: _Starts, step_count: int, variant_count: int) -> FunnelCounts:
    actor_count = len(timeline.variant)
    best = np.zeros(actor_count, dtype=np.int64)
    np.maximum.at(best, starts.actor, starts.steps)
    is_best = starts.steps == best[starts.actor]
    reached = np.zeros((variant_count + 2, step_count), dtype=np.int64)
    for step in range(step_count):
        reached[:, step] = np.bincount(timeline.variant[best > step], minlength=variant_count + 2)
    times: list[list[ConversionTimes]] = [[] for _ in range(variant_count)]
    for step in range(1, step_count):
        seconds = starts.seconds[step - 1][is_best]
        measured = ~np.isnan(seconds)
        actors, average, median = average_and_median(starts.actor[is_best][measured], seconds[measured])
        variant = timeline.variant[actors]
        for slot, row in enumerate(times, start=1):
            row.append(ConversionTimes.of(average[variant == slot], median[variant == slot]))
    return FunnelCounts(reached, times)


def average_and_median(
    actor: NDArray[np.int64], seconds: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return each actor with the average and the median of its values."""
    order = np.lexsort((seconds, actor))
    seconds = seconds[order]
    actors, first, count = np.unique(actor[order], return_index=True, return_counts=True)
    if not len(actors):
        return actors, np.empty(0), np.empty(0)
    average = np.add.reduceat(seconds, first) / count
    median = (seconds[first + (count - 1) // 2] + seconds[first + count // 2]) / 2
    return actors, average, median


def _add_months(times: NDArray[np.int64], months: int) -> NDArray[np.int64]:
    """Add calendar months in UTC; a day that the month does not have becomes its last."""
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
